#include "channels/channel_importance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "edgecompress/error.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using torch::jit::Module;

/// relu(a x) of three units with weights (3, 4), (1, 0), (0, 2), consumed by b with columns (0, 1),
/// (2, 0), (0, 3); no biases.
Model three_units() {
  Module net("__torch__.Net");
  net.register_parameter("a", at::tensor({3.F, 4.F, 1.F, 0.F, 0.F, 2.F}).view({3, 2}), false);
  net.register_parameter("b", at::tensor({0.F, 2.F, 0.F, 1.F, 0.F, 3.F}).view({2, 3}), false);
  net.define(
      "def forward(self, x):\n"
      "  return torch.linear(torch.relu(torch.linear(x, self.a)), self.b)\n");
  net.eval();
  return Model::from_module(net, {{{1, 2}}});
}

void expect_scores(const UnitImportance& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.scores.size(), 1U);
  EXPECT_TRUE(found.is_known[0]);
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(found.scores[0].at(i), expected[i], 1e-6) << "unit " << i;
}

TEST(WeightImportance, IsTheMeanOfTheNormsOverTheirMeans) {
  const Model model = three_units();
  const ChannelGroups groups = find_channel_groups(model);
  // l2 of the rows 5, 1, 2 (mean 8/3), of the columns 1, 2, 3 (mean 2).
  expect_scores(
      weight_importance(model, groups, WeightCriterion::kL2),
      {(5 * 3 / 8.0 + 1 / 2.0) / 2, (1 * 3 / 8.0 + 2 / 2.0) / 2, (2 * 3 / 8.0 + 3 / 2.0) / 2});
  // l1 of the rows 7, 1, 2 (mean 10/3).
  expect_scores(weight_importance(model, groups, WeightCriterion::kL1),
                {(7 * 0.3 + 0.5) / 2, (0.3 + 1) / 2, (2 * 0.3 + 1.5) / 2});
}

TEST(WeightImportance, IsTheDistanceToTheOthersForTheGeometricMedian) {
  const Model model = three_units();
  const double ab = std::sqrt(20.0), ac = std::sqrt(13.0), bc = std::sqrt(5.0);
  const double mean = 2 * (ab + ac + bc) / 3;
  expect_scores(
      weight_importance(model, find_channel_groups(model), WeightCriterion::kGeometricMedian),
      {(ab + ac) / mean, (ab + bc) / mean, (ac + bc) / mean});
}

TEST(WeightImportance, IsTheScaleOfTheBatchNorm) {
  const auto tiny = testing::make_tiny_model("cnn");
  const Model model = Model::from_module(tiny.module, tiny.inputs);
  const ChannelGroups groups = find_channel_groups(model);
  const auto importance = weight_importance(model, groups, WeightCriterion::kBatchNormScale);
  ASSERT_EQ(groups.groups.at(0).name, "conv1");
  const at::Tensor scale = model.tensor("bn1.weight").abs();
  const at::Tensor expected = scale / scale.mean();
  for (std::int64_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(importance.scores[0].at(static_cast<std::size_t>(i)), expected[i].item<double>(),
                1e-6);
  }
}

TEST(WeightImportance, SaysWhereItHasNothingToLookAt) {
  const Model model = three_units();
  const auto importance =
      weight_importance(model, find_channel_groups(model), WeightCriterion::kBatchNormScale);
  EXPECT_FALSE(importance.is_known.at(0));
  EXPECT_EQ(importance.scores.at(0), (std::vector<double>{1, 1, 1}));
}

TEST(WeightImportance, NamesAWeightThatIsNotFinite) {
  Model model = three_units();
  const ChannelGroups groups = find_channel_groups(model);
  model.set_tensor("a", model.tensor("a") / 0.F);
  try {
    weight_importance(model, groups, WeightCriterion::kL2);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    EXPECT_NE(std::string(error.what()).find("'a'"), std::string::npos) << error.what();
  }
}

TEST(ActivationImportance, IsWhatTheConsumersAreGiven) {
  const Model model = three_units();
  const ChannelGroups groups = find_channel_groups(model);
  // Activations (3, 1, 0) and relu(-4, 0, -2) = (0, 0, 0).
  const at::Tensor first = at::tensor({1.F, 0.F}).view({1, 2});
  const at::Tensor second = at::tensor({0.F, -1.F}).view({1, 2});
  ActivationImportance mean(model, groups, ActivationCriterion::kMean);
  ActivationImportance apoz(model, groups, ActivationCriterion::kApoz);
  for (const at::Tensor& input : {first, second}) {
    mean.observe({input});
    apoz.observe({input});
  }
  expect_scores(mean.result(), {1.5 * 1.5, 0.5 * 1.5, 0});
  expect_scores(apoz.result(), {0.5 * 3, 0.5 * 3, 0});
}

TEST(ActivationImportance, WeighsSamplesNotBatches) {
  const Model model = three_units();
  const ChannelGroups groups = find_channel_groups(model);
  const at::Tensor all = at::tensor({1.F, 0.F, 1.F, 0.F, 0.F, 1.F}).view({3, 2});
  ActivationImportance together(model, groups, ActivationCriterion::kMean);
  together.observe({all});
  ActivationImportance apart(model, groups, ActivationCriterion::kMean);
  apart.observe({all.narrow(0, 0, 2)});
  apart.observe({all.narrow(0, 2, 1)});
  expect_scores(apart.result(), together.result().scores[0]);
}

TEST(ActivationImportance, NamesALayerThatReadsWhatIsNotFinite) {
  const Model model = three_units();
  const ChannelGroups groups = find_channel_groups(model);
  for (const auto criterion : {ActivationCriterion::kMean, ActivationCriterion::kApoz}) {
    for (const float damaged :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      ActivationImportance importance(model, groups, criterion);
      importance.observe({at::ones({1, 2})});
      importance.observe({at::full({1, 2}, damaged)});
      try {
        importance.result();
        FAIL() << "no error";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kPass);
        EXPECT_NE(std::string(error.what()).find("what 'b' reads"), std::string::npos)
            << error.what();
      }
    }
  }
}

TEST(RandomImportance, HangsOnTheSeedAlone) {
  const ChannelGroups groups = find_channel_groups(three_units());
  EXPECT_EQ(random_importance(groups, 1).scores, random_importance(groups, 1).scores);
  EXPECT_NE(random_importance(groups, 1).scores, random_importance(groups, 2).scores);
}

}  // namespace
}  // namespace edgecompress
