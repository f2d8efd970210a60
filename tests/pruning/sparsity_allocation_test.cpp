#include "pruning/sparsity_allocation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "support/tiny_models.h"

namespace edgecompress {
namespace {

TEST(AllocateShares, TakesTheCheapestSlopesFirst) {
  // Per weight: the first costs 0.1 and then 0.5, the second 0.2 and then 0.3.
  const DamageCurve first{10, 1, {0, 0.5, 3}}, second{20, 1, {0, 2, 5}};
  EXPECT_EQ(allocate_shares({first, second}, 5 / 30.0), (std::vector<double>{0.5, 0}));
  EXPECT_EQ(allocate_shares({first, second}, 0.5), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(allocate_shares({first, second}, 25 / 30.0), (std::vector<double>{0.5, 1}));
  EXPECT_EQ(allocate_shares({first, second}, 1), (std::vector<double>{1, 1}));
}

TEST(AllocateShares, SeesThroughAHump) {
  // Half of the first costs nearly as much as all of it: its hull is a straight line.
  const DamageCurve first{10, 1, {0, 9, 10}}, second{10, 1, {0, 6, 14}};
  EXPECT_EQ(allocate_shares({first, second}, 0.5), (std::vector<double>{1, 0}));
  EXPECT_EQ(allocate_shares({first, second}, 0.75), (std::vector<double>{1, 0.5}));
}

TEST(AllocateShares, GivesTheShareToOneWeightAndNoLayerMoreThanItsLargest) {
  const DamageCurve first{101, 0.9, {0, 0, 1, 4}}, second{33, 0.9, {0, 1, 1, 2}},
      third{7, 0.9, {0, 3, 6, 7}};
  for (const double share : {0.0, 0.111, 0.5, 0.777, 0.9}) {
    const std::vector<double> shares = allocate_shares({first, second, third}, share);
    const double total = shares[0] * 101 + shares[1] * 33 + shares[2] * 7;
    EXPECT_NEAR(total, std::llround(share * 141), 1 + 1e-9);
    EXPECT_LE(shares[0], 91 / 101.0);
    EXPECT_LE(shares[1], 30 / 33.0);
  }
}

class Sensitivity : public ::testing::TestWithParam<std::string> {};

TEST_P(Sensitivity, GivesTheOverallShareAndNoMoreDamageThanUniform) {
  const auto tiny = testing::make_tiny_model(GetParam());
  Model model = Model::from_module(tiny.module, tiny.inputs);
  DataSets data;
  data.calibration = testing::make_tiny_data(tiny, 64, 2);
  data.calibration_batch = 24;
  Progress progress;
  const auto weights = find_prunable_weights(model, LayerFilter({}, {}));
  std::vector<at::Tensor> before;
  double all = 0;
  for (const PrunableWeight& weight : weights) {
    before.push_back(model.tensor(weight.weight).detach().clone());
    all += static_cast<double>(weight.size());
  }
  std::int64_t found_better = 0;
  for (const PruneCriterion criterion : {PruneCriterion::kMagnitude, PruneCriterion::kWanda}) {
    for (const double share : {0.4, 0.7}) {
      const SensitivityAllocation found =
          allocate_by_sensitivity(model, weights, share, {criterion, {}}, &data, progress);
      double total = 0;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        EXPECT_TRUE(model.tensor(weights[i].weight).equal(before[i]));
        EXPECT_LE(found.shares[i], (1 + share) / 2 + 1.0 / static_cast<double>(weights[i].size()));
        total += found.shares[i] * static_cast<double>(weights[i].size());
      }
      if (found.way > 0) {
        EXPECT_NEAR(total, share * all, 1);
      }
      EXPECT_LE(found.damage, found.uniform_damage);
      found_better += found.damage < 0.95 * found.uniform_damage;
    }
  }
  EXPECT_GE(found_better, 2);
}

INSTANTIATE_TEST_SUITE_P(TinyModels, Sensitivity,
                         ::testing::Values("mlp", "cnn", "residual_cnn", "transformer", "lstm"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace edgecompress
