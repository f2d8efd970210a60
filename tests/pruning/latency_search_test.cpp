#include "pruning/latency_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>
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

TEST(LatencySearch, ComesCloseOnAQuietMachineInTenMeasurements) {
  for (const double target : {0.03, 0.2, 0.33, 0.5, 0.77, 0.98}) {
    Linear network{100000};
    const auto found = search_latency(network.most, target, std::ref(network));
    EXPECT_LE(network.asked.size(), 10U) << target;
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
  EXPECT_LE(measurements, 10);
}

/// A machine on which the first measurement of some counts is disturbed.
class Disturbed {
 public:
  explicit Disturbed(std::map<std::int64_t, double> by_count) : factors_(std::move(by_count)) {}

  static double true_share(std::int64_t count) { return 1 - static_cast<double>(count) / 100; }
  double operator()(std::int64_t count) {
    const auto disturbed = factors_.find(count);
    const double factor = disturbed == factors_.end() ? 1 : disturbed->second;
    if (disturbed != factors_.end()) factors_.erase(disturbed);
    return true_share(count) * factor;
  }

 private:
  std::map<std::int64_t, double> factors_;
};

TEST(LatencySearch, IsNotLedAstrayByANetworkThatSeemedTooSlow) {
  // 49 leaves 0.51, but 0.66 is measured first: all that is found beyond it is far too fast.
  const auto found = search_latency(100, 0.6, Disturbed({{49, 1.3}}));
  EXPECT_TRUE(found.is_met);
  EXPECT_LT(found.count, 49);
  EXPECT_LE(Disturbed::true_share(found.count), 0.6);
  EXPECT_GT(Disturbed::true_share(found.count), 0.56);
}

TEST(LatencySearch, DoesNotBelieveOneMeasurementThatMeetsTheTarget) {
  // 49 leaves 0.51 of what must be 0.4, which it seems to meet at first.
  const auto found = search_latency(100, 0.4, Disturbed({{49, 0.78}}));
  EXPECT_TRUE(found.is_met);
  EXPECT_LE(Disturbed::true_share(found.count), 0.4);
  EXPECT_GT(Disturbed::true_share(found.count), 0.36);
}

TEST(LatencySearch, TellsTheMedianOfWhatWasMeasuredOfANoisyMachine) {
  // Every second measurement is disturbed.
  int measurements = 0;
  std::map<std::int64_t, std::vector<double>> told;
  const auto found = search_latency(100, 0.5, [&](std::int64_t count) {
    const double share = (1 - static_cast<double>(count) / 100) * (++measurements % 2 ? 1 : 1.3);
    told[count].push_back(share);
    return share;
  });
  EXPECT_EQ(found.measurements.size(), static_cast<std::size_t>(measurements));
  EXPECT_LE(measurements, 14);
  auto of_found = told.at(found.count);
  std::sort(of_found.begin(), of_found.end());
  ASSERT_EQ(of_found.size(), 3U);
  EXPECT_DOUBLE_EQ(found.share, of_found[1]);
  EXPECT_EQ(found.is_met, found.share <= 0.5);
}

}  // namespace
}  // namespace edgecompress
