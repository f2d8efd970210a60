#include "int8/observer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "int8/range_search.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kSamplesPerCall = 32768;

/// One dimension, without a copy where the values have no gaps: their order does not matter, and
/// at::aminmax would first bring channels-last tensors to another.
at::Tensor in_memory_order(const at::Tensor& values) {
  return values.is_non_overlapping_and_dense() ? values.as_strided({values.numel()}, {1})
                                               : values.reshape({-1});
}

ValueRange search(const ObserverOptions& options, const Histogram& histogram, std::int64_t steps) {
  switch (options.kind) {
    case ObserverKind::kPercentile:
      return percentile_range(histogram, options.percentile);
    case ObserverKind::kEntropy:
      return least_divergence(histogram, steps);
    default:
      return least_squared_error(histogram, steps);
  }
}

}  // namespace

bool Observer::needs_histogram() const {
  return options_.kind != ObserverKind::kMinMax && options_.kind != ObserverKind::kMovingAverage;
}

void Observer::observe(const at::Tensor& values) {
  if (values.numel() == 0) return;
  const at::Tensor dense = in_memory_order(values);
  const auto [smallest, largest] = at::aminmax(dense);
  const double low = smallest.item<float>(), high = largest.item<float>();
  is_finite_ = is_finite_ && std::isfinite(low) && std::isfinite(high);
  if (!is_finite_) return;
  const bool is_first = calls_++ == 0;
  low_ = is_first ? low : std::min(low_, low);
  high_ = is_first ? high : std::max(high_, high);
  const double share = std::max(options_.averaging_constant, 1.0 / static_cast<double>(calls_));
  average_low_ += share * (low - average_low_);
  average_high_ += share * (high - average_high_);
  if (!needs_histogram()) return;

  // Odd steps and moving starts: no fixed relation to rows or channels.
  const std::int64_t step =
      std::max<std::int64_t>((dense.numel() + kSamplesPerCall - 1) / kSamplesPerCall, 1) | 1;
  histogram_.add(dense.data_ptr<float>(), dense.numel(), (calls_ - 1) % step, step, low, high);
  if (step == 1) return;
  const float ends[] = {static_cast<float>(low), static_cast<float>(high)};
  histogram_.add(ends, 2, /*first=*/0, /*step=*/1, low, high);
}

QuantizedRange Observer::range() const {
  const bool is_symmetric = options_.is_symmetric && low_ < 0;
  const double magnitude = std::max(-low_, high_);
  if (options_.kind == ObserverKind::kMovingAverage) {
    return is_symmetric ? choose_symmetric_range(std::max(-average_low_, average_high_))
                        : choose_range(average_low_, average_high_);
  }
  if (options_.kind == ObserverKind::kMinMax)
    return is_symmetric ? choose_symmetric_range(magnitude) : choose_range(low_, high_);
  // Bins are wider than what is in them.
  if (is_symmetric) {
    const ValueRange best = search(options_, histogram_.magnitudes(), kSymmetricSteps);
    return choose_symmetric_range(std::min(best.high, magnitude));
  }
  const ValueRange best = search(options_, histogram_, kAffineSteps);
  return choose_range(std::max(best.low, low_), std::min(best.high, high_));
}

}  // namespace edgecompress
