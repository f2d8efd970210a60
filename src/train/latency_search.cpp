#include "train/latency_search.h"

#include <optional>

namespace edgecompress {
namespace {

constexpr int kMostMeasurements = 8;
constexpr double kCloseEnough = 0.01;

}  // namespace

LatencySearch search_latency(std::int64_t most, double target,
                             const std::function<double(std::int64_t)>& share_without) {
  std::int64_t too_few = -1, enough = most;
  std::optional<double> share_of_enough;
  // The last measurement is for `most`, should nothing less be enough.
  for (int i = 1; i < kMostMeasurements && enough - too_few > 1; ++i) {
    const std::int64_t middle = too_few + (enough - too_few) / 2;
    const double share = share_without(middle);
    if (share > target) {
      too_few = middle;
      continue;
    }
    enough = middle;
    share_of_enough = share;
    if (share > target - kCloseEnough) break;
  }
  if (!share_of_enough) share_of_enough = share_without(enough);
  return {enough, *share_of_enough, *share_of_enough <= target};
}

}  // namespace edgecompress
