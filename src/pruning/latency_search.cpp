#include "pruning/latency_search.h"

#include <algorithm>
#include <utility>

namespace edgecompress {
namespace {

constexpr std::size_t kMostMeasurements = 14;
constexpr double kCloseEnough = 0.01;
// So many measurements are believed, or one less that agree.
constexpr std::size_t kBelieved = 3;
constexpr double kAgreeing = 0.02;

class Bisection {
 public:
  Bisection(std::int64_t most, double target, const std::function<double(std::int64_t)>& measure)
      : enough_{most},
        // Bisecting further would tell noise apart.
        near_(std::max<std::int64_t>(1, most / 128)),
        target_(target),
        measure_(measure) {}

  LatencySearch run() {
    while (is_affordable() && step()) {
    }
    while (!is_believed(enough_.back())) measure(enough_.back());
    found_.count = enough_.back();
    found_.share = median_share(found_.count);
    found_.is_met = found_.share <= target_;
    return std::move(found_);
  }

 private:
  /// Of another measurement, with what the result would need then.
  bool is_affordable() const {
    return found_.measurements.size() + 1 + kBelieved <= kMostMeasurements;
  }

  /// One measurement more; false if there is nothing left to be told by one.
  bool step() {
    const std::int64_t enough = enough_.back(), too_few = too_few_.back();
    const bool is_close = was_measured(enough) && median_share(enough) > target_ - kCloseEnough;
    if (!is_close && enough - too_few > near_) {
      const std::int64_t middle = too_few + (enough - too_few) / 2;
      (measure(middle) > target_ ? too_few_ : enough_).push_back(middle);
      return true;
    }
    if (!is_believed(enough)) {
      const bool is_enough = measure(enough) <= target_;
      if (!is_enough && enough_.size() > 1) {
        enough_.pop_back();
        too_few_.push_back(enough);
      }
      return true;
    }
    if (is_close || too_few < 0 || is_believed(too_few)) return false;
    if (measure(too_few) <= target_) {
      too_few_.pop_back();
      enough_.push_back(too_few);
    }
    return true;
  }

  /// Ascending.
  std::vector<double> shares_of(std::int64_t count) const {
    std::vector<double> shares;
    for (const LatencyMeasurement& measured : found_.measurements) {
      if (measured.count == count) shares.push_back(measured.share);
    }
    std::sort(shares.begin(), shares.end());
    return shares;
  }
  bool was_measured(std::int64_t count) const { return !shares_of(count).empty(); }
  bool is_believed(std::int64_t count) const {
    const auto shares = shares_of(count);
    return shares.size() >= kBelieved ||
           (shares.size() + 1 == kBelieved && shares.back() - shares.front() <= kAgreeing);
  }
  double median_share(std::int64_t count) const {
    const auto shares = shares_of(count);
    return (shares[(shares.size() - 1) / 2] + shares[shares.size() / 2]) / 2;
  }
  /// Returns the median of all measurements of this count.
  double measure(std::int64_t count) {
    found_.measurements.push_back({count, measure_(count)});
    return median_share(count);
  }

  // Each nearer to the result than the one before it.
  std::vector<std::int64_t> too_few_{-1}, enough_;
  std::int64_t near_;
  double target_;
  const std::function<double(std::int64_t)>& measure_;
  LatencySearch found_;
};

}  // namespace

LatencySearch search_latency(std::int64_t most, double target,
                             const std::function<double(std::int64_t)>& share_without) {
  return Bisection(most, target, share_without).run();
}

}  // namespace edgecompress
