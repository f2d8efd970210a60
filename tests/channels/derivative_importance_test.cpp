#include "channels/derivative_importance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "edgecompress/error.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using torch::jit::Module;

/// relu(a x) of three units, consumed by b; no biases.
Model three_units(const std::vector<float>& a, const std::vector<float>& b) {
  const auto inputs = static_cast<std::int64_t>(a.size()) / 3;
  Module net("__torch__.Net");
  net.register_parameter("a", at::tensor(a).view({3, inputs}), false);
  net.register_parameter("b", at::tensor(b).view({-1, 3}), false);
  net.define(
      "def forward(self, x):\n"
      "  return torch.linear(torch.relu(torch.linear(x, self.a)), self.b)\n");
  net.eval();
  return Model::from_module(net, {{{2, inputs}}});
}

at::Tensor half_square(const std::vector<at::Tensor>& outputs) {
  return outputs.at(0).square().sum(1).mean() / 2;
}

void expect_scores(const UnitImportance& found, const std::vector<double>& expected,
                   double tolerance) {
  ASSERT_EQ(found.scores.size(), 1U);
  EXPECT_TRUE(found.is_known[0]);
  double mean = 0;
  for (const double score : expected) mean += score / static_cast<double>(expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(found.scores[0].at(i), expected[i] / mean, tolerance) << "unit " << i;
}

TEST(DerivativeImportance, IsTheMeanSizeOrSquareOfEachSamplesDerivative) {
  const Model model = three_units({3, 4, 1, 0, 0, 2}, {0, 2, 0, 1, 0, 3});
  const ChannelGroups groups = find_channel_groups(model);
  // Of (1, 0): activations (3, 1, 0), outputs (2, 3), derivatives by activations (3, 4, 9).
  // Of (0, 1): activations (4, 0, 2), outputs (0, 10), derivatives by activations (10, 0, 30).
  const std::map<DerivativeCriterion, std::vector<double>> expected = {
      {DerivativeCriterion::kTaylor, {9 + 40, 4, 60}},
      {DerivativeCriterion::kFisher, {9. * 9 + 40. * 40, 4. * 4, 60. * 60}}};
  const at::Tensor inputs = at::eye(2);
  for (const auto& [criterion, scores] : expected) {
    DerivativeImportance together(model, groups, criterion), apart(model, groups, criterion);
    together.observe({inputs}, 2, half_square);
    for (const std::int64_t i : {0, 1}) apart.observe({inputs.narrow(0, i, 1)}, 1, half_square);
    expect_scores(together.result(), scores, 1e-6);
    expect_scores(apart.result(), scores, 1e-6);
  }
}

TEST(DerivativeImportance, IsTheRiseOfTheLossOfALeastSquaresFitToSecondOrder) {
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  const Model model = three_units({1, 0, 0, 0, 1, 0, 0, 0, 1}, {0.5F, 1, 2});
  const at::Tensor inputs = at::rand({20000, 3});
  const at::Tensor targets = model.forward({inputs}).at(0) + at::randn({20000, 1});
  const ChannelGroups groups = find_channel_groups(model);
  DerivativeImportance fisher(model, groups, DerivativeCriterion::kFisher);
  fisher.observe({inputs}, 20000, [&](const std::vector<at::Tensor>& outputs) {
    return (outputs.at(0) - targets).square().mean() / 2;
  });
  // Without unit u the residuals grow by w_u x_u, which is independent of the noise.
  std::vector<double> rises;
  for (const double weight : {0.5, 1.0, 2.0}) rises.push_back(weight * weight / 3 / 2);
  expect_scores(fisher.result(), rises, 0.1);
}

TEST(DerivativeImportance, AddsUpWhatSeveralConsumersReadAndNothingTwice) {
  // What c reads hangs on what b reads, and is not b's to answer for.
  Module net("__torch__.Net");
  net.register_parameter("a", at::eye(2), false);
  net.register_parameter("b", at::tensor({1.F, 0.F, 0.F, 0.F}).view({2, 2}), false);
  net.register_parameter("c", at::tensor({2.F, 5.F, 0.F, 0.F}).view({2, 2}), false);
  net.define(
      "def forward(self, x):\n"
      "  h = torch.relu(torch.linear(x, self.a))\n"
      "  return torch.linear(h, self.b) + torch.linear(3 * h, self.c)\n");
  net.eval();
  const Model model = Model::from_module(net, {{{2, 2}}});
  const ChannelGroups groups = find_channel_groups(model);
  const std::map<DerivativeCriterion, std::vector<double>> expected = {
      {DerivativeCriterion::kTaylor, {7, 15}}, {DerivativeCriterion::kFisher, {7. * 7, 15. * 15}}};
  for (const auto& [criterion, scores] : expected) {
    DerivativeImportance importance(model, groups, criterion);
    importance.observe({at::ones({4, 2})}, 4, [](const std::vector<at::Tensor>& outputs) {
      return outputs.at(0).sum(1).mean();
    });
    expect_scores(importance.result(), scores, 1e-6);
  }
}

TEST(DerivativeImportance, KnowsTheGroupsOfEveryTinyNetworkWhateverTheBatch) {
  for (const std::string& name : testing::tiny_model_names()) {
    const auto tiny = testing::make_tiny_model(name);
    const Model model = Model::from_module(tiny.module, tiny.inputs);
    const ChannelGroups groups = find_channel_groups(model);
    const auto loss = [](const std::vector<at::Tensor>& outputs) {
      return outputs.at(0).flatten(1).square().sum(1).mean();
    };
    const auto inputs = model.example_inputs(6, 2);
    DerivativeImportance together(model, groups, DerivativeCriterion::kFisher),
        apart(model, groups, DerivativeCriterion::kFisher);
    together.observe(inputs, 6, loss);
    for (std::int64_t i = 0; i < 6; ++i) {
      std::vector<at::Tensor> one;
      for (const at::Tensor& input : inputs) one.push_back(input.narrow(0, i, 1));
      apart.observe(one, 1, loss);
    }
    const UnitImportance expected = apart.result(), found = together.result();
    for (std::size_t group = 0; group < groups.groups.size(); ++group) {
      EXPECT_TRUE(found.is_known[group]) << name << ": " << groups.groups[group].name;
      for (std::size_t unit = 0; unit < found.scores[group].size(); ++unit)
        EXPECT_NEAR(found.scores[group][unit], expected.scores[group][unit], 1e-3) << name;
    }
  }
}

TEST(DerivativeImportance, NamesAGroupByWhichADerivativeIsNotFinite) {
  const Model model = three_units({3, 4, 1, 0, 0, 2}, {0, 2, 0, 1, 0, 3});
  const ChannelGroups groups = find_channel_groups(model);
  DerivativeImportance importance(model, groups, DerivativeCriterion::kTaylor);
  importance.observe({at::eye(2)}, 2, [](const std::vector<at::Tensor>& outputs) {
    return outputs.at(0).sum() * std::numeric_limits<double>::infinity();
  });
  try {
    importance.result();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    EXPECT_NE(std::string(error.what()).find("'" + groups.groups[0].name + "'"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace edgecompress
