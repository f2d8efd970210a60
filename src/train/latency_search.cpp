#include "train/latency_search.h"

#include <optional>

namespace edgecompress {
namespace {

constexpr int kMostMeasurements = 8;
constexpr double kCloseEnough = 0.01;

}  // namespace

LatencySearch search_latency(std::int64_t most, double target,
                             const std::function<double(std::int64_t)>& share_without) {
  LatencySearch search;
  const auto measure = [&](std::int64_t count) {
    search.measurements.push_back({count, share_without(count)});
    return search.measurements.back().share;
  };
  std::int64_t too_few = -1, enough = most;
  std::optional<double> share_of_enough;
  // The last measurement is for `most`, should nothing less be enough.
  for (int i = 1; i < kMostMeasurements && enough - too_few > 1; ++i) {
    const std::int64_t middle = too_few + (enough - too_few) / 2;
    const double share = measure(middle);
    if (share > target) {
      too_few = middle;
      continue;
    }
    enough = middle;
    share_of_enough = share;
    if (share > target - kCloseEnough) break;
  }
  search.count = enough;
  search.share = share_of_enough ? *share_of_enough : measure(enough);
  search.is_met = search.share <= target;
  return search;
}

}  // namespace edgecompress
