#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "passes/registry.h"
#include "passes/training_bench.h"
#include "support/expect_error.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using testing::TrainingBench;
using torch::jit::Module;

PassResult prune(Model& model, const Json& given, const DataSets* data = nullptr) {
  const PassSpec spec = find_pass("prune_weights");
  Progress silent;
  PassContext context{silent};
  context.data = data;
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
  prune(model, {{"ratio", 0.5}, {"allocation", "global"}});
  expect_weights(model, "a", {0.7F, 0, 0, 0});
  expect_weights(model, "b", {5, -3});
}

TEST(PruneWeights, BreaksTiesByIndex) {
  Model model = two_layers({1, -1, 1, 1}, {1, 1});
  prune(model, {{"ratio", 0.5}, {"allocation", "global"}});
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

/// Calibration samples whose features have these norms.
DataSets calibration_of(const std::vector<float>& samples) {
  DataSets data;
  data.calibration = std::make_shared<TensorDataset>(
      std::vector<at::Tensor>{at::tensor(samples).reshape({-1, 2})});
  data.calibration_batch = 2;
  return data;
}

std::int64_t zeros_of(const at::Tensor& weight) { return weight.eq(0).sum().item<std::int64_t>(); }

/// A linear layer [rows, columns] that holds 1, 2, 3, ... with alternating signs.
Model counting_layer(std::int64_t rows, std::int64_t columns) {
  Module net("__torch__.Net");
  at::Tensor weight = at::arange(1, rows * columns + 1).to(at::kFloat).reshape({rows, columns});
  weight.slice(1, 1, columns, 2).neg_();
  net.register_parameter("weight", weight, false);
  net.define("def forward(self, x):\n  return torch.linear(x, self.weight, None)\n");
  net.eval();
  return Model::from_module(net, {{{1, columns}}});
}

TEST(PruneWeights, KeepsTwoOfEachFourInputs) {
  Model model = counting_layer(1, 8);
  const PassResult result = prune(model, {{"pattern", "n:m"}});
  EXPECT_TRUE(model.tensor("weight").equal(
      at::tensor({0.F, 0.F, 3.F, -4.F, 0.F, 0.F, 7.F, -8.F}).reshape({1, 8})));
  EXPECT_DOUBLE_EQ(result.counts.at("sparsity"), 0.5);
  EXPECT_NE(result.note.find("2:4"), std::string::npos) << result.note;
  EXPECT_FALSE(prune(model, {{"pattern", "n:m"}}).changed);
}

TEST(PruneWeights, CountsNOfMAlongTheInputChannelsOfAConvolution) {
  const auto tiny = testing::make_tiny_model("cnn");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  prune(model, {{"pattern", "n:m"}, {"n", 1}, {"m", 4}});
  const at::Tensor kept = model.tensor("conv2.weight") != 0;  // [16, 8, 3, 3]
  EXPECT_TRUE(kept.reshape({16, 2, 4, 3, 3}).sum(2).eq(1).all().item<bool>());
  const at::Tensor ragged = model.tensor("conv1.weight") != 0;  // [8, 3, 3, 3]
  EXPECT_TRUE(ragged.sum(1).eq(1).all().item<bool>());
}

TEST(PruneWeights, PrunesWholeBlocks) {
  Model model = counting_layer(4, 2);
  prune(model, {{"pattern", "block"}, {"block", {2, 1}}, {"ratio", 0.5}});
  EXPECT_TRUE(model.tensor("weight").equal(
      at::tensor({0.F, 0.F, 0.F, 0.F, 5.F, -6.F, 7.F, -8.F}).reshape({4, 2})));
}

TEST(PruneWeights, WandaWeighsByTheInputsOfEachRow) {
  // Norms 4 and 1: scores [4, 2] and [12, 1] of a; magnitudes alone would take both ones.
  Model model = two_layers({1, 2, 3, 1}, {5, -3});
  const DataSets data = calibration_of({4, 0, 0, 1});
  prune(model, {{"criterion", "wanda"}, {"include", {"^a$"}}}, &data);
  expect_weights(model, "a", {1, 0, 3, 0});
  expect_weights(model, "b", {5, -3});
}

TEST(PruneWeights, LaterLayersSeeWhatThePruningOfEarlierOnesLeft) {
  // Norms 4 and 0.6 leave a the first of its inputs alone. Without its second, a's second output
  // has norm 2 instead of 2.7, and b's second weight goes instead of its first.
  Model model = two_layers({1, 0.5F, 0.5F, 3}, {1, 1.7F});
  const DataSets data = calibration_of({4, 0, 0, 0.6F});
  prune(model, {{"criterion", "wanda"}}, &data);
  expect_weights(model, "a", {1, 0, 0.5F, 0});
  expect_weights(model, "b", {1, 0});
}

TEST(PruneWeights, SparseGptGivesOutputsNearerToTheOriginals) {
  for (const char* name : {"mlp", "cnn", "depthwise_cnn", "transformer"}) {
    TrainingBench bench(name);
    bench.data.calibration = bench.data.train;
    const Model original = bench.model.clone();
    const auto error_of = [&](const Json& options) {
      bench.model = original.clone();
      const PassResult result = bench.run("prune_weights", options);
      EXPECT_NEAR(result.counts.at("sparsity"), 0.6, 0.02) << name;
      EXPECT_FALSE(bench.run("prune_weights", options).changed) << name;
      const at::NoGradGuard no_grad;
      const auto inputs = bench.data.train->read({0, 1, 2, 3, 4, 5, 6, 7}, 0).inputs;
      return (bench.model.forward(inputs)[0] - original.forward(inputs)[0])
          .square()
          .sum()
          .item<double>();
    };
    EXPECT_LT(error_of({{"ratio", 0.6}, {"criterion", "sparsegpt"}}), error_of({{"ratio", 0.6}}))
        << name;
  }
}

TEST(PruneWeights, RecurrentLayersGoByMagnitudeAndAreNamed) {
  for (const char* criterion : {"wanda", "sparsegpt"}) {
    TrainingBench bench("lstm");
    bench.data.calibration = bench.data.train;
    const PassResult result = bench.run("prune_weights", {{"criterion", criterion}});
    EXPECT_EQ(result.details["other_criterion"].size(), 2U);
    EXPECT_EQ(zeros_of(bench.model.tensor("rnn.weight_hh_l0")), 200);
    EXPECT_EQ(zeros_of(bench.model.tensor("fc.weight")), 20);
  }
}

TEST(PruneWeights, SensitivityKeepsTheOverallRatio) {
  TrainingBench bench("cnn");
  bench.data.calibration = bench.data.train;
  const PassResult result =
      bench.run("prune_weights", {{"allocation", "sensitivity"}, {"ratio", 0.7}});
  const double all = 8 * 27 + 16 * 72 + 64;
  EXPECT_NEAR(result.counts.at("sparsity") * all, 0.7 * all, 1);
  EXPECT_EQ(result.details["sensitivity"]["damage"].size(), 3U);
  EXPECT_LE(result.details["sensitivity"]["all_layers"].get<double>(),
            result.details["sensitivity"]["all_layers_uniform"].get<double>());
}

TEST(PruneWeights, StepsFollowACubicWithTrainingBetween) {
  TrainingBench bench("mlp");
  std::vector<double> sparsities;
  bench.context.score = [&](const Forward&) {  // before and after each epoch
    std::int64_t zeros = 0, all = 0;
    for (const char* layer : {"fc1.weight", "fc2.weight", "fc3.weight"}) {
      zeros += zeros_of(bench.model.tensor(layer));
      all += bench.model.tensor(layer).numel();
    }
    sparsities.push_back(static_cast<double>(zeros) / static_cast<double>(all));
    Score score;
    score.metric = "top1";
    score.higher_is_better = true;
    score.value = static_cast<double>(sparsities.size());
    return score;
  };
  const PassResult result =
      bench.run("prune_weights", {{"ratio", 0.8}, {"steps", 4}, {"fine_tuning", {{"epochs", 1}}}});
  ASSERT_EQ(sparsities.size(), 6U);
  for (std::size_t step = 1; step <= 3; ++step) {
    const double left = 1 - static_cast<double>(step) / 4;
    const double expected = 0.8 * (1 - left * left * left);
    EXPECT_NEAR(sparsities[2 * step - 2], expected, 2.0 / 736);
    EXPECT_NEAR(sparsities[2 * step - 1], expected, 2.0 / 736);
  }
  EXPECT_NEAR(result.counts.at("sparsity"), 0.8, 2.0 / 736);
  EXPECT_EQ(result.details["fine_tuning"].size(), 3U);
}

TEST(PruneWeights, NeedsWhatItsOptionsAskFor) {
  const PassDescription description = find_pass("prune_weights").description;
  const auto needs = [&](const Json& options) {
    return description.needs_with(description.options.resolve(options, ""));
  };
  EXPECT_FALSE(needs(Json::object()).calibration);
  EXPECT_FALSE(needs(Json::object()).training);
  EXPECT_TRUE(needs({{"criterion", "wanda"}}).calibration);
  EXPECT_TRUE(needs({{"criterion", "sparsegpt"}}).calibration);
  EXPECT_TRUE(needs({{"allocation", "sensitivity"}}).calibration);
  EXPECT_FALSE(needs({{"steps", 3}}).training);
  const PassNeeds both =
      needs({{"criterion", "wanda"}, {"steps", 3}, {"fine_tuning", {{"epochs", 2}}}});
  EXPECT_TRUE(both.calibration && both.training && both.labels && both.float_model);
}

TEST(PruneWeights, SaysWhatIsMissingWithoutCalibrationData) {
  const DataSets none;
  for (const Json& options : {Json{{"criterion", "wanda"}}, Json{{"criterion", "sparsegpt"}},
                              Json{{"allocation", "sensitivity"}}}) {
    Model model = two_layers({1, 2, 3, 4}, {5, -3});
    expect_error(
        ExitCode::kData, "no calibration samples", [&] { prune(model, options, &none); },
        "data.calibration");
  }
}

TEST(PruneWeights, RefusesOptionsThatContradictEachOther) {
  Model model = two_layers({1, 2, 3, 4}, {5, -3});
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"pattern", "block"}, {"block", {4}}}, "block: found 1 numbers"},
      {{{"pattern", "n:m"}, {"n", 5}}, "n: found 5"},
      {{{"pattern", "n:m"}, {"allocation", "global"}}, "allocation global"},
      {{{"threshold", 0.5}, {"criterion", "wanda"}}, "threshold"},
      {{{"pattern", "block"}, {"criterion", "sparsegpt"}}, "block"},
      {{{"fine_tuning", Json::object()}}, "only one"}};
  for (const auto& [options, message] : cases)
    expect_error(ExitCode::kRecipe, message, [&, given = options] { prune(model, given); });
}

}  // namespace
}  // namespace edgecompress
