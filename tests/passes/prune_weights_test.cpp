#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "edgecompress/error.h"
#include "passes/registry.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using torch::jit::Module;

PassResult prune(Model& model, const Json& given) {
  const PassSpec spec = find_pass("prune_weights");
  PassContext context;
  return spec.make(spec.description.options.resolve(given, ""))->run(model, context);
}

/// Two linear layers, [2, 2] and [1, 2], with these weights.
Model two_layers(const std::vector<float>& first, const std::vector<float>& second) {
  Module net("__torch__.Net");
  for (const auto& [name, values] : {std::pair("a", first), std::pair("b", second)}) {
    Module layer(std::string("__torch__.Linear_") + name);
    layer.register_parameter("weight", at::tensor(values).reshape({-1, 2}), false);
    layer.register_parameter(
        "bias", at::full({static_cast<std::int64_t>(values.size()) / 2}, 1e-6F), false);
    layer.define("def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n");
    net.register_module(name, layer);
  }
  net.define("def forward(self, x):\n  return self.b.forward(self.a.forward(x))\n");
  net.eval();
  return Model::from_module(net, {{{1, 2}}});
}

void expect_weights(const Model& model, const std::string& layer,
                    const std::vector<float>& expected) {
  const at::Tensor weight = model.tensor(layer + ".weight");
  EXPECT_TRUE(weight.reshape({-1}).equal(at::tensor(expected))) << weight;
}

TEST(PruneWeights, ZeroesTheSmallestOfEachLayer) {
  Model model = two_layers({0.7F, -0.1F, 0.4F, 0.02F}, {5, -3});
  const PassResult result = prune(model, {{"ratio", 0.5}});
  expect_weights(model, "a", {0.7F, 0, 0.4F, 0});
  expect_weights(model, "b", {5, 0});
  EXPECT_TRUE(result.changed);
  EXPECT_EQ(result.counts.at("layers"), 2);
  EXPECT_EQ(result.counts.at("pruned"), 3);
  EXPECT_DOUBLE_EQ(result.counts.at("sparsity"), 0.5);
}

TEST(PruneWeights, RanksOverAllLayersOnRequest) {
  Model model = two_layers({0.7F, -0.1F, 0.4F, 0.02F}, {5, -3});
  prune(model, {{"ratio", 0.5}, {"scope", "global"}});
  expect_weights(model, "a", {0.7F, 0, 0, 0});
  expect_weights(model, "b", {5, -3});
}

TEST(PruneWeights, BreaksTiesByIndex) {
  Model model = two_layers({1, -1, 1, 1}, {1, 1});
  prune(model, {{"ratio", 0.5}, {"scope", "global"}});
  expect_weights(model, "a", {0, 0, 0, 1});
  expect_weights(model, "b", {1, 1});
}

TEST(PruneWeights, ZeroesWhatIsBelowAThreshold) {
  Model model = two_layers({0.7F, -0.1F, 0.4F, 0.02F}, {0.5F, -3});
  prune(model, {{"threshold", 0.5}});
  expect_weights(model, "a", {0.7F, 0, 0, 0});
  expect_weights(model, "b", {0.5F, -3});
}

TEST(PruneWeights, NeverTouchesBiases) {
  Model model = two_layers({0.7F, -0.1F, 0.4F, 0.02F}, {5, -3});
  prune(model, {{"threshold", 0.5}});
  EXPECT_TRUE(model.tensor("a.bias").equal(at::full({2}, 1e-6F)));
}

TEST(PruneWeights, CountsZerosAsPruned) {
  Model model = two_layers({0.7F, -0.1F, 0.4F, 0.02F}, {5, -3});
  prune(model, {{"ratio", 0.5}});
  const PassResult again = prune(model, {{"ratio", 0.5}});
  EXPECT_FALSE(again.changed);
  const PassResult less = prune(model, {{"ratio", 0.25}});
  EXPECT_FALSE(less.changed);
  EXPECT_DOUBLE_EQ(less.counts.at("sparsity"), 0.5);
  const PassResult more = prune(model, {{"ratio", 0.75}});
  EXPECT_EQ(more.counts.at("pruned"), 2);  // one of a's, and round(0.75 * 2) = 2 of b's
  expect_weights(model, "a", {0.7F, 0, 0, 0});
}

TEST(PruneWeights, FollowsTheFilters) {
  Model model = two_layers({0.7F, -0.1F, 0.4F, 0.02F}, {5, -3});
  prune(model, {{"include", {"^a$"}}});
  expect_weights(model, "a", {0.7F, 0, 0.4F, 0});
  expect_weights(model, "b", {5, -3});
  const PassResult none = prune(model, {{"exclude", {"a|b"}}});
  EXPECT_FALSE(none.changed);
  EXPECT_FALSE(none.note.empty());
}

TEST(PruneWeights, PrunesTheMatricesOfRecurrentLayers) {
  for (const char* name : {"lstm", "gru"}) {
    const auto tiny = testing::make_tiny_model(name);
    Model model = Model::from_module(tiny.module, tiny.inputs);
    prune(model, {{"ratio", 0.9}});
    const at::Tensor matrix = model.tensor("rnn.weight_hh_l0");
    EXPECT_EQ(matrix.eq(0).sum().item<std::int64_t>(),
              std::llround(0.9 * static_cast<double>(matrix.numel())));
    EXPECT_EQ(model.tensor("rnn.bias_hh_l0").eq(0).sum().item<std::int64_t>(), 0);
  }
}

TEST(PruneWeights, RejectsRatioOfOne) {
  Model model = two_layers({1, 1, 1, 1}, {1, 1});
  EXPECT_THROW(prune(model, {{"ratio", 1.0}}), Error);
}

TEST(PruneWeights, RejectsAnExpressionThatIsNone) {
  Model model = two_layers({1, 1, 1, 1}, {1, 1});
  for (const std::string& expression : {std::string("layer("), std::string(300, 'a')}) {
    try {
      prune(model, {{"include", {expression}}});
      FAIL() << expression;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kRecipe);
      EXPECT_NE(std::string(error.what()).find("include/0"), std::string::npos);
    }
  }
}

TEST(PruneWeights, RefusesWeightsThatAreNotFinite) {
  Model model = two_layers({1, std::nanf(""), 1, 1}, {1, 1});
  try {
    prune(model, Json::object());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    EXPECT_NE(std::string(error.what()).find("a.weight"), std::string::npos);
  }
}

}  // namespace
}  // namespace edgecompress
