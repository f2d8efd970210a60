#include "pruning/unit_penalty.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

Model two_layers() {
  Model model =
      testing::make_text_network({"def forward(self, x):\n  return self.b(torch.relu(self.a(x)))\n",
                                  {testing::linear("a", 3, 2), testing::linear("b", 1, 3)},
                                  {testing::float_input({2, 2})}});
  const auto of = [](std::initializer_list<double> values) {
    return at::tensor(values, at::kDouble);
  };
  model.set_tensor("a.weight", of({1, 2, 0, 0, 3, 0}).view({3, 2}));
  model.set_tensor("a.bias", of({2, 0, 4}));
  model.set_tensor("b.weight", of({4, 0, 12}).view({1, 3}));
  return model;
}

at::Tensor gradient(const Model& model, const std::string& name) {
  return model.tensor(name).grad();
}

void expect_equal(const at::Tensor& found, std::initializer_list<double> expected) {
  EXPECT_TRUE(found.flatten().allclose(at::tensor(expected, at::kDouble))) << found;
}

// The weights of the units are (1, 2, 2, 4), (0, 0, 0, 0) and (3, 0, 4, 12): norms 5, 0 and 13.
TEST(UnitPenalty, OfGroupLassoPullsAtEachWeightByItsShareOfTheUnit) {
  const Model model = two_layers();
  const ChannelGroups groups = find_channel_groups(model);
  ASSERT_EQ(groups.groups.size(), 1U);
  UnitPenalty(model, groups, {{0, 1, 2}}).add_group_lasso(0.5);
  // lambda sqrt(n) / |w| is 0.5 * 2 / 5 and 0.5 * 2 / 13.
  const double first = 0.2, last = 1.0 / 13;
  expect_equal(gradient(model, "a.weight"), {first, 2 * first, 0, 0, 3 * last, 0});
  expect_equal(gradient(model, "a.bias"), {2 * first, 0, 4 * last});
  expect_equal(gradient(model, "b.weight"), {4 * first, 0, 12 * last});
  EXPECT_FALSE(gradient(model, "b.bias").defined());
}

TEST(UnitPenalty, OfDecayPullsAtTheChosenUnitsAlone) {
  const Model model = two_layers();
  model.tensor("a.weight").mutable_grad() = at::ones({3, 2}, at::kDouble);
  const UnitPenalty penalty(model, find_channel_groups(model), {{2}});
  penalty.add_decay(0.5);
  expect_equal(gradient(model, "a.weight"), {1, 1, 1, 1, 2.5, 1});
  expect_equal(gradient(model, "b.weight"), {0, 0, 6});
  EXPECT_NEAR(penalty.root_mean_squares().at(0).at(0), 6.5, 1e-12);
}

class UnitPenaltyOfTiny : public ::testing::TestWithParam<std::string> {};

/// The penalty as its formula reads, for autograd to differentiate.
at::Tensor group_lasso(const Model& model, const ChannelGroups& groups) {
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (const ChannelGroup& group : groups.groups) {
    for (std::size_t unit = 0; unit < group.units.size(); ++unit) {
      std::vector<at::Tensor> weights;
      for (const ChannelMember& member : group.members) {
        if (member.tensor.find("running_") != std::string::npos) continue;
        const at::Tensor positions = at::tensor(member.positions[unit], at::kLong);
        weights.push_back(
            model.tensor(member.tensor).index_select(member.dim, positions).flatten());
      }
      const at::Tensor w = at::cat(weights).to(at::kDouble);
      sum = sum + std::sqrt(static_cast<double>(w.numel())) * w.norm();
    }
  }
  return sum;
}

TEST_P(UnitPenaltyOfTiny, IsTheDerivativeOfItsFormula) {
  const auto tiny = testing::make_tiny_model(GetParam());
  const Model model = Model::from_module(tiny.module, tiny.inputs);
  const ChannelGroups groups = find_channel_groups(model);
  for (auto [name, parameter] : model.named_parameters()) parameter.set_requires_grad(true);
  group_lasso(model, groups).mul(0.25).backward();
  std::vector<at::Tensor> expected;
  for (auto [name, parameter] : model.named_parameters()) {
    expected.push_back(parameter.grad().defined() ? parameter.grad().clone() : at::Tensor());
    parameter.mutable_grad().reset();
  }
  const std::vector<bool> is_open(groups.groups.size(), true);
  UnitPenalty(model, groups, every_unit(groups, is_open)).add_group_lasso(0.25);
  std::size_t next = 0, some = 0;
  for (const auto& [name, parameter] : model.named_parameters()) {
    const at::Tensor& wanted = expected[next++];
    ASSERT_EQ(parameter.grad().defined(), wanted.defined()) << name;
    if (!wanted.defined()) continue;
    EXPECT_TRUE(parameter.grad().allclose(wanted, 1e-4, 1e-6)) << name;
    ++some;
  }
  EXPECT_GT(some, 2U);
}

INSTANTIATE_TEST_SUITE_P(All, UnitPenaltyOfTiny, ::testing::ValuesIn(testing::tiny_model_names()),
                         [](const auto& tiny) { return tiny.param; });

TEST(UnitPenalty, ReachesEveryUnitOfOpenGroups) {
  const Model model = two_layers();
  const ChannelGroups groups = find_channel_groups(model);
  EXPECT_EQ(every_unit(groups, {true}), (UnitChoice{{0, 1, 2}}));
  EXPECT_EQ(every_unit(groups, {false}), (UnitChoice{{}}));
}

}  // namespace
}  // namespace edgecompress
