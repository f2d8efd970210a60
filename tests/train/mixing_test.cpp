#include "train/mixing.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

/// Sample i is class i, and its numbers all hang on i.
Batch batch_of(const at::Tensor& inputs) {
  Batch batch;
  batch.inputs = {inputs};
  batch.size = inputs.size(0);
  batch.target = at::arange(batch.size);
  for (std::int64_t i = 0; i < batch.size; ++i) batch.indices.push_back(i);
  return batch;
}

Batch pictures() {
  return batch_of(at::arange(6, at::kFloat).view({6, 1, 1, 1}).expand({6, 2, 10, 8}).contiguous());
}

TEST(Mixing, MixupAveragesEachSampleWithTheOneThatTheOtherTargetNames) {
  Batch batch = batch_of(at::eye(6));
  mix(batch, {"mixup", 1.0}, 3);
  const double share = batch.other_share;
  EXPECT_GT(share, 0);
  EXPECT_LT(share, 1);
  std::set<std::int64_t> others;
  for (std::int64_t i = 0; i < 6; ++i) {
    const auto other = batch.other_target[i].item<std::int64_t>();
    others.insert(other);
    const at::Tensor expected = (1 - share) * at::eye(6)[i] + share * at::eye(6)[other];
    EXPECT_TRUE(at::allclose(batch.inputs[0][i], expected, 1e-5, 1e-6)) << i;
  }
  EXPECT_EQ(others.size(), 6U);
  EXPECT_TRUE(batch.target.equal(at::arange(6)));
  EXPECT_TRUE(batch.indices.empty());
}

TEST(Mixing, CutmixPutsABoxThatCoversTheShareItSays) {
  int boxes = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Batch batch = pictures();
    mix(batch, {"cutmix", std::nullopt}, seed);
    for (std::int64_t i = 0; i < 6; ++i) {
      const auto other = batch.other_target[i].item<std::int64_t>();
      const at::Tensor own = batch.inputs[0][i] == i;
      EXPECT_TRUE(own.logical_or(batch.inputs[0][i] == other).all().item<bool>());
      if (other == i) continue;
      EXPECT_NEAR(1 - own.to(at::kDouble).mean().item<double>(), batch.other_share, 1e-9);
      EXPECT_TRUE(own[0].equal(own[1])) << "channels differ";
    }
    boxes += batch.other_share > 0 ? 1 : 0;
  }
  EXPECT_GT(boxes, 15);
}

TEST(Mixing, LeavesTheDataItWasGivenAsItIs) {
  for (const char* name : {"mixup", "cutmix"}) {
    Batch batch = pictures();
    const at::Tensor given = batch.inputs[0], before = given.clone();
    mix(batch, {name, 1.0}, 1);
    EXPECT_TRUE(given.equal(before)) << name;
  }
}

// Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
TEST(Mixing, DrawsSharesFromTheBetaDistribution) {
  for (const double alpha : {0.2, 1.0, 4.0}) {
    double sum = 0, squares = 0;
    constexpr int kDraws = 4000;
    for (int seed = 0; seed < kDraws; ++seed) {
      Batch batch = batch_of(at::zeros({2, 1}));
      mix(batch, {"mixup", alpha}, static_cast<std::uint64_t>(seed));
      sum += batch.other_share;
      squares += batch.other_share * batch.other_share;
    }
    const double mean = sum / kDraws, variance = squares / kDraws - mean * mean;
    EXPECT_NEAR(mean, 0.5, 0.02) << alpha;
    EXPECT_NEAR(variance, 1 / (4 * (2 * alpha + 1)), 0.008) << alpha;
  }
}

TEST(Mixing, DrawsTheSameForTheSameSeed) {
  Batch one = pictures(), two = pictures(), other = pictures();
  mix(one, {"cutmix", 1.0}, 5);
  mix(two, {"cutmix", 1.0}, 5);
  mix(other, {"cutmix", 1.0}, 6);
  EXPECT_TRUE(one.inputs[0].equal(two.inputs[0]));
  EXPECT_FALSE(one.inputs[0].equal(other.inputs[0]));
}

TEST(Mixing, WorksWithoutLabels) {
  Batch batch = pictures();
  batch.target = at::Tensor();
  mix(batch, {"mixup", 1.0}, 5);
  EXPECT_FALSE(batch.other_target.defined());
}

TEST(Mixing, RefusesWhatCanNotBeMixed) {
  Batch tokens = batch_of(at::ones({4, 3}, at::kLong));
  EXPECT_THROW(mix(tokens, {"mixup", 1.0}, 0), Error);
  Batch rows = batch_of(at::ones({4, 3}));
  EXPECT_THROW(mix(rows, {"cutmix", 1.0}, 0), Error);
  Batch maps = pictures();
  maps.target = at::zeros({6, 10, 8}, at::kLong);
  EXPECT_THROW(mix(maps, {"mixup", 1.0}, 0), Error);
}

}  // namespace
}  // namespace edgecompress
