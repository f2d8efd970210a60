// Watches the values of one activation while calibration data streams by, and chooses the range
// that INT8 will cover. Memory is bounded and does not grow with the data.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "int8/histogram.h"
#include "int8/quantized.h"

namespace edgecompress {

enum class ObserverKind {
  kMinMax,         ///< all that was seen
  kMovingAverage,  ///< the average of the calls' smallest and largest values
  kPercentile,     ///< all but the farthest values, see percentile_range
  kEntropy,        ///< what keeps most of the distribution, see least_divergence
  kHistogram       ///< the part of it that loses least, see least_squared_error
};

struct ObserverOptions {
  ObserverKind kind = ObserverKind::kHistogram;
  /// Weight c of a new call's end e in the average a <- a + max(c, 1/n) (e - a), n counting calls
  /// that held values: the plain mean of the first 1/c calls, exponential afterwards.
  double averaging_constant = 0.01;
  double percentile = 99.99;  ///< in (0, 100]
  /// Zero point 128 for values of both signs or negative ones, 0 for values that are never negative
  /// (half of the steps would lie below zero). Otherwise affine: the zero point that fits.
  bool is_symmetric = false;
};

class Observer {
 public:
  explicit Observer(const ObserverOptions& options) : options_(options) {}
  explicit Observer(ObserverKind kind) { options_.kind = kind; }

  /// A float32 tensor of any shape. Smallest and largest value are exact; the histogram takes an
  /// evenly spread sample of at most 32768 values a call, each counted for those it stands for, and
  /// those two.
  void observe(const at::Tensor& values);

  bool has_seen_values() const { return low_ <= high_; }
  /// False once a value was infinite or not a number; nothing is observed from then on.
  bool is_finite() const { return is_finite_; }
  /// Of what was seen; needs has_seen_values().
  QuantizedRange range() const;

 private:
  bool needs_histogram() const;

  ObserverOptions options_;
  double low_ = 1, high_ = 0;  // low > high: nothing yet
  double average_low_ = 0, average_high_ = 0;
  bool is_finite_ = true;
  std::int64_t calls_ = 0;  // with values in them
  Histogram histogram_;
};

}  // namespace edgecompress
