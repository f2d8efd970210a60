#include "util/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace edgecompress {
namespace {

TEST(Random, GivesTheSequenceThatTheStandardFixes) {
  // [rand.predef]: the 10000th value of a default-seeded mt19937_64.
  Random random(5489);
  std::uint64_t value = 0;
  for (int i = 0; i < 10000; ++i) value = random.bits();
  EXPECT_EQ(value, 9981545732273789042u);
}

TEST(Random, UniformIsTheTop53BitsOfAValue) {
  Random random(1), same(1);
  for (int i = 0; i < 1000; ++i) {
    const double value = random.uniform();
    EXPECT_EQ(value, std::ldexp(static_cast<double>(same.bits() >> 11), -53));
    EXPECT_GE(value, 0);
    EXPECT_LT(value, 1);
  }
}

TEST(Random, IndexReachesEveryValueEvenly) {
  Random random(2);
  std::vector<int> counts(5, 0);
  for (int i = 0; i < 50000; ++i) ++counts.at(static_cast<std::size_t>(random.index(5)));
  // 10000 expected, standard deviation 89.
  for (const int count : counts) EXPECT_NEAR(count, 10000, 5 * 89);
}

TEST(Random, NormalHasMeanZeroAndVarianceOne) {
  Random random(3);
  constexpr int kCount = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.normal();
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kCount, 0, 5 / std::sqrt(kCount));
  EXPECT_NEAR(squares / kCount, 1, 5 * std::sqrt(2.0 / kCount));
}

TEST(Random, PermutationHoldsEveryIndexOnceInSeededOrder) {
  auto order = Random(4).permutation(100);
  EXPECT_EQ(order, Random(4).permutation(100));
  EXPECT_NE(order, Random(5).permutation(100));
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (std::int64_t i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(Random(4).permutation(0).empty());
}

TEST(DeriveSeed, DiffersInEachOfItsArguments) {
  std::set<std::uint64_t> seeds;
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const char* purpose : {"", "a", "b", "ab", "ba"}) {
      for (const std::uint64_t index : {0, 1, 2}) seeds.insert(derive_seed(seed, purpose, index));
    }
  }
  EXPECT_EQ(seeds.size(), 3u * 5u * 3u);
  EXPECT_EQ(derive_seed(7, "split", 3), derive_seed(7, "split", 3));
}

}  // namespace
}  // namespace edgecompress
