#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/testing/file_check.h>

#include "model/batch_norm_folding.h"
#include "passes/registry.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using torch::jit::Module;

PassResult fold(Model& model) {
  Progress silent;
  PassContext context{silent};
  return find_pass("fold_batch_norm").make(Json::object())->run(model, context);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(FoldStatistics, FollowsTheFormula) {
  // g = 3 / sqrt(3 + 1) = 1.5: w' = 2 * 1.5; b' = (1 - 5) * 1.5 + 0.25
  const BatchNormStatistics statistics{at::tensor({5.0}), at::tensor({3.0}), at::tensor({3.0}),
                                       at::tensor({0.25}), 1.0};
  const FoldedWeights folded =
      fold_statistics(at::full({1, 1, 1, 1}, 2.0), at::tensor({1.0}), statistics, false, 1);
  EXPECT_DOUBLE_EQ(folded.weight.item<double>(), 3.0);
  EXPECT_DOUBLE_EQ(folded.bias.item<double>(), -5.75);
}

TEST(FoldStatistics, TakesAbsentBiasGammaAndBeta) {
  const BatchNormStatistics statistics{at::tensor({5.0}), at::tensor({3.0}), {}, {}, 1.0};
  const FoldedWeights folded = fold_statistics(at::full({1, 1}, 2.0), {}, statistics, false, 1);
  EXPECT_DOUBLE_EQ(folded.weight.item<double>(), 1.0);
  EXPECT_DOUBLE_EQ(folded.bias.item<double>(), -2.5);
}

struct Geometry {
  const char* op;
  std::vector<std::int64_t> input, weight;
  bool is_transposed;
  std::int64_t groups;
};

TEST(FoldStatistics, EqualsTheBatchNormForEveryKindOfLayer) {
  const std::vector<Geometry> geometries = {
      {"conv1d", {2, 6, 9}, {4, 3, 3}, false, 2},
      {"conv2d", {2, 6, 9, 9}, {6, 1, 3, 3}, false, 6},
      {"conv3d", {2, 3, 5, 5, 5}, {4, 3, 3, 3, 3}, false, 1},
      {"conv_transpose1d", {2, 6, 9}, {6, 2, 3}, true, 3},
      {"conv_transpose2d", {2, 6, 5, 5}, {6, 4, 3, 3}, true, 1},
      {"conv_transpose3d", {2, 4, 3, 3, 3}, {4, 2, 2, 2, 2}, true, 2}};
  for (const Geometry& g : geometries) {
    const at::Tensor x = at::randn(g.input, at::kDouble), w = at::randn(g.weight, at::kDouble);
    const std::int64_t channels = g.is_transposed ? g.weight[1] * g.groups : g.weight[0];
    const at::Tensor b = at::randn({channels}, at::kDouble);
    const BatchNormStatistics s{
        at::randn({channels}, at::kDouble), at::rand({channels}, at::kDouble) + 0.5,
        at::randn({channels}, at::kDouble), at::randn({channels}, at::kDouble), 1e-5};
    const auto run = [&](const at::Tensor& weight, const at::Tensor& bias) {
      const auto rank = weight.dim() - 2;
      const std::vector<std::int64_t> ones(static_cast<std::size_t>(rank), 1),
          zeros(static_cast<std::size_t>(rank), 0);
      return at::convolution(x, weight, bias, ones, ones, ones, g.is_transposed, zeros, g.groups);
    };
    const at::Tensor expected = at::batch_norm(run(w, b), s.gamma, s.beta, s.mean, s.variance,
                                               false, 0.1, s.epsilon, false);
    const FoldedWeights folded = fold_statistics(w, b, s, g.is_transposed, g.groups);
    EXPECT_LT(largest_difference(run(folded.weight, folded.bias), expected), 1e-10) << g.op;
  }
}

TEST(FoldBatchNorm, RemovesTheNodesAndKeepsTheOutputs) {
  for (const char* name : {"cnn", "residual_cnn", "depthwise_cnn", "concat_cnn", "conv1d"}) {
    const auto tiny = testing::make_tiny_model(name);
    const Model original = Model::from_module(tiny.module, tiny.inputs);
    Model model = original.clone();
    const PassResult result = fold(model);
    EXPECT_TRUE(result.changed) << name;
    EXPECT_GE(result.counts.at("folded"), 1) << name;
    EXPECT_EQ(result.counts.at("kept"), 0) << name;
    torch::jit::testing::FileCheck().check_not("aten::batch_norm")->run(model.graph());
    const auto inputs = original.example_inputs(3, 5);
    EXPECT_LT(largest_difference(model.forward(inputs)[0], original.forward(inputs)[0]), 1e-4)
        << name;
  }
}

TEST(FoldBatchNorm, KeepsTheNamesOfTheWeightsAndDropsTheStatistics) {
  const auto tiny = testing::make_tiny_model("cnn");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  fold(model);
  EXPECT_TRUE(model.has_attribute("conv1.weight"));
  EXPECT_TRUE(model.has_attribute("conv1.bias"));
  EXPECT_FALSE(model.has_attribute("bn1.running_mean"));
  EXPECT_FALSE(model.has_attribute("bn1.weight"));
}

/// conv -> [middle] -> batch norm, with or without a bias.
Module network(const std::string& body, bool has_bias) {
  Module net("__torch__.Net");
  net.register_attribute("training", c10::BoolType::get(), false);
  net.register_parameter("weight", at::randn({4, 3, 1, 1}), false);
  if (has_bias) net.register_parameter("bias", at::randn({4}), false);
  net.register_buffer("mean", at::randn({4}));
  net.register_buffer("variance", at::rand({4}) + 0.5);
  net.define("def forward(self, x):\n" + body);
  return net;
}

const char kConvolve[] = "  y = torch.conv2d(x, self.weight, None)\n";
const char kNormalise[] =
    "  z = torch.batch_norm(y, None, None, self.mean, self.variance, self.training, 0.1, 1e-5, "
    "False)\n";

TEST(FoldBatchNorm, GivesALayerWithoutBiasOne) {
  const Model original = Model::from_module(
      network(std::string(kConvolve) + kNormalise + "  return z\n", false), {{{1, 3, 4, 4}}});
  Model model = original.clone();
  EXPECT_TRUE(fold(model).changed);
  EXPECT_EQ(model.named_parameters().size(), 2U);
  const auto inputs = original.example_inputs(2);
  EXPECT_LT(largest_difference(model.forward(inputs)[0], original.forward(inputs)[0]), 1e-5);
}

TEST(FoldBatchNorm, NamesWhatItCanNotFold) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {std::string(kConvolve) + "  y = torch.relu(y)\n" + kNormalise + "  return z\n",
       "aten::relu"},
      {std::string(kConvolve) + kNormalise + "  return z + y\n", "others read"},
      {std::string(kConvolve) + kNormalise +
           "  return z + torch.conv2d(x + 1, self.weight, None)\n",
       "shared"}};
  for (const auto& [body, reason] : cases) {
    const Model original = Model::from_module(network(body, false), {{{1, 3, 4, 4}}});
    Model model = original.clone();
    const PassResult result = fold(model);
    EXPECT_FALSE(result.changed);
    EXPECT_EQ(result.counts.at("kept"), 1);
    const auto found = result.details["kept"][0]["reason"].get<std::string>();
    EXPECT_NE(found.find(reason), std::string::npos) << found;
    const auto inputs = original.example_inputs(2);
    EXPECT_TRUE(model.forward(inputs)[0].equal(original.forward(inputs)[0]));
  }
}

TEST(FoldBatchNorm, KeepsABatchNormOverAnotherAxisThanTheChannels) {
  // [n, 4, 4]: the linear layer's channels are the last axis, the batch norm's the middle one.
  Module net("__torch__.Net");
  net.register_attribute("training", c10::BoolType::get(), false);
  net.register_parameter("weight", at::randn({4, 4}), false);
  net.register_buffer("mean", at::randn({4}));
  net.register_buffer("variance", at::rand({4}) + 0.5);
  net.define("def forward(self, x):\n  y = torch.linear(x, self.weight, None)\n" +
             std::string(kNormalise) + "  return z\n");
  Model model = Model::from_module(net, {{{1, 4, 4}}});
  EXPECT_FALSE(fold(model).changed);
}

TEST(FoldBatchNorm, SaysThatThereIsNothingToDo) {
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  const PassResult result = fold(model);
  EXPECT_FALSE(result.changed);
  EXPECT_EQ(result.note, "the model has no batch norms");
}

}  // namespace
}  // namespace edgecompress
