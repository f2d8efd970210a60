#include "low_rank/rank_choice.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace edgecompress {
namespace {

RankOptions layer_of(std::int64_t macs, const std::vector<std::pair<std::int64_t, double>>& options,
                     double damage = 1) {
  RankOptions layer;
  layer.as_it_is = {macs, macs};
  layer.damage = damage;
  std::int64_t rank = static_cast<std::int64_t>(options.size());
  for (const auto& [left, lost] : options)
    layer.options.push_back({FactorScheme::kChannel, rank--, {left, left}, lost});
  return layer;
}

std::int64_t left_of(const std::vector<RankOptions>& layers, const RankChoice& choice) {
  std::int64_t macs = 0;
  for (std::size_t i = 0; i < layers.size(); ++i)
    macs += choice.chosen[i] ? choice.chosen[i]->cost.macs : layers[i].as_it_is.macs;
  return macs;
}

double damage_of(const std::vector<RankOptions>& layers, const RankChoice& choice) {
  double damage = 0;
  for (std::size_t i = 0; i < layers.size(); ++i)
    damage += choice.chosen[i] ? layers[i].damage * choice.chosen[i]->lost : 0;
  return damage;
}

TEST(RankChoice, TakesFirstWhatLosesLeastForWhatItSaves) {
  const std::vector<RankOptions> layers = {layer_of(100, {{80, 0.1}, {50, 0.2}}),
                                           layer_of(100, {{50, 0.01}, {20, 0.5}})};
  const RankChoice choice = choose_within_budget(layers, &LayerCost::macs, 150);
  EXPECT_TRUE(choice.is_met);
  EXPECT_FALSE(choice.chosen[0]);
  ASSERT_TRUE(choice.chosen[1]);
  EXPECT_EQ(choice.chosen[1]->cost.macs, 50);
}

TEST(RankChoice, WeighsLossesByTheirDamage) {
  const std::vector<RankOptions> layers = {layer_of(100, {{50, 0.2}}, 0.01),
                                           layer_of(100, {{50, 0.01}}, 1)};
  const RankChoice choice = choose_within_budget(layers, &LayerCost::macs, 150);
  EXPECT_TRUE(choice.chosen[0]);
  EXPECT_FALSE(choice.chosen[1]);
}

TEST(RankChoice, LastLayerSavesNoMoreThanIsLeftToSave) {
  // The hull goes straight from 100 to 20; 70 suffices and loses less.
  const std::vector<RankOptions> layers = {layer_of(100, {{70, 0.3}, {20, 0.4}})};
  const RankChoice choice = choose_within_budget(layers, &LayerCost::macs, 75);
  ASSERT_TRUE(choice.chosen[0]);
  EXPECT_EQ(choice.chosen[0]->cost.macs, 70);
}

TEST(RankChoice, LeavesEverythingWhereTheBudgetIsMet) {
  const std::vector<RankOptions> layers = {layer_of(100, {{50, 0.1}})};
  const RankChoice choice = choose_within_budget(layers, &LayerCost::macs, 100);
  EXPECT_TRUE(choice.is_met);
  EXPECT_FALSE(choice.chosen[0]);
}

TEST(RankChoice, SaysThatTheLowestRanksDoNotSuffice) {
  const std::vector<RankOptions> layers = {layer_of(100, {{50, 0.1}, {30, 0.6}}), layer_of(40, {})};
  const RankChoice choice = choose_within_budget(layers, &LayerCost::macs, 60);
  EXPECT_FALSE(choice.is_met);
  EXPECT_EQ(left_of(layers, choice), 70);
}

TEST(RankChoice, IsNearTheBestOfAllChoices) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int round = 0; round < 50; ++round) {
    std::vector<RankOptions> layers;
    for (int i = 0; i < 4; ++i) {
      std::vector<std::pair<std::int64_t, double>> options;
      double lost = 0;
      for (std::int64_t left = 90; left >= 10; left -= 10)
        options.emplace_back(left, lost += uniform(random));
      layers.push_back(layer_of(100, options, uniform(random)));
    }
    const std::int64_t budget = 200;
    double best = std::numeric_limits<double>::infinity(), step = 0;
    for (int code = 0; code < 10000; ++code) {
      RankChoice tried;
      for (int i = 0, rest = code; i < 4; ++i, rest /= 10) {
        const auto& options = layers[static_cast<std::size_t>(i)].options;
        tried.chosen.push_back(
            rest % 10 == 0 ? std::nullopt
                           : std::optional(options[static_cast<std::size_t>(rest % 10 - 1)]));
      }
      if (left_of(layers, tried) <= budget) best = std::min(best, damage_of(layers, tried));
    }
    for (const RankOptions& layer : layers)
      step = std::max(step, layer.damage * layer.options.back().lost);
    const RankChoice choice = choose_within_budget(layers, &LayerCost::macs, budget);
    EXPECT_LE(left_of(layers, choice), budget);
    EXPECT_GE(damage_of(layers, choice), best - 1e-12);
    // A greedy choice along the hulls is off by at most one layer's way.
    EXPECT_LE(damage_of(layers, choice), best + step);
  }
}

}  // namespace
}  // namespace edgecompress
