#include "train/latency_search.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace edgecompress {
namespace {

/// Each of `most` removals takes as much.
struct Linear {
  std::int64_t most;
  std::vector<std::int64_t> asked = {};
  double operator()(std::int64_t count) {
    asked.push_back(count);
    return 1 - static_cast<double>(count) / static_cast<double>(most);
  }
};

TEST(LatencySearch, FindsTheSmallestCountThatMeetsTheTarget) {
  Linear network{40};
  const auto found = search_latency(40, 0.71, std::ref(network));
  EXPECT_EQ(found.count, 12);  // 0.7; with 11 it would be 0.725
  EXPECT_DOUBLE_EQ(found.share, 0.7);
  EXPECT_TRUE(found.is_met);
}

TEST(LatencySearch, MeasuresAtMostEightTimesAndComesClose) {
  for (const double target : {0.03, 0.2, 0.33, 0.5, 0.77, 0.98}) {
    Linear network{100000};
    const auto found = search_latency(network.most, target, std::ref(network));
    EXPECT_LE(network.asked.size(), 8U) << target;
    EXPECT_TRUE(found.is_met) << target;
    EXPECT_LE(found.share, target);
    EXPECT_GT(found.share, target - 0.01);
  }
}

TEST(LatencySearch, TakesNothingWhereNothingIsNeeded) {
  Linear network{3};
  EXPECT_EQ(search_latency(3, 1, std::ref(network)).count, 0);
}

TEST(LatencySearch, SaysWhenAllOfItIsNotEnough) {
  int measurements = 0;
  const auto found = search_latency(1000, 0.4, [&](std::int64_t count) {
    ++measurements;
    return count == 1000 ? 0.45 : 0.9;
  });
  EXPECT_EQ(found.count, 1000);
  EXPECT_DOUBLE_EQ(found.share, 0.45);
  EXPECT_FALSE(found.is_met);
  EXPECT_LE(measurements, 8);
}

TEST(LatencySearch, ReturnsWhatWasMeasuredOfANoisyMachine) {
  // Every second measurement is disturbed.
  int measurements = 0;
  std::vector<double> told(101, -1);
  const auto found = search_latency(100, 0.5, [&](std::int64_t count) {
    const double share = (1 - static_cast<double>(count) / 100) * (++measurements % 2 ? 1 : 1.3);
    return told[static_cast<std::size_t>(count)] = share;
  });
  EXPECT_EQ(found.measurements.size(), static_cast<std::size_t>(measurements));
  EXPECT_DOUBLE_EQ(found.share, told[static_cast<std::size_t>(found.count)]);
  EXPECT_EQ(found.is_met, found.share <= 0.5);
}

}  // namespace
}  // namespace edgecompress
