// Watches the values of one activation while calibration data streams by, and chooses the range
// that INT8 will cover. Memory is bounded and does not grow with the data.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/quantized.h"

namespace edgecompress {

enum class ObserverKind {
  kMinMax,    ///< all that was seen
  kHistogram  ///< the part of it that loses least, see Histogram::best_range
};

/// Values counted in equal bins whose edges are multiples of the bin width, so that bins can be
/// merged in pairs, exactly, when later values need more room.
class Histogram {
 public:
  struct Range {
    double low = 0, high = 0;
  };

  void add(float value);
  /// The range [low, high], inside what was seen, of least expected squared error:
  ///
  ///   N_in (high - low)^2 / (12 * 255^2)  +  sum over x > high of (x - high)^2
  ///                                       +  sum over x < low of (low - x)^2
  ///
  /// N_in counts the values inside but the zeros, which INT8 holds exactly (a ReLU gives many). The
  /// first term is the rounding error of uniform steps, the rest is clipping: Banner et al. 2019,
  /// "Post training 4-bit quantization of convolutional networks for rapid-deployment", eq. 4, with
  /// the measured distribution in the place of theirs. Zero is always inside.
  Range best_range() const;

  std::int64_t count() const { return count_; }

 private:
  struct Moments;
  std::vector<Moments> moments_below() const;
  bool has_room(double value) const;
  void make_room(double value);
  void merge_pairs();

  double width_ = 0;            // of a bin; 0: nothing but zeros was seen
  std::int64_t first_bin_ = 0;  // counts_[i] covers [(first_bin_ + i) width, ... + width)
  std::vector<std::int64_t> counts_;
  std::int64_t zeros_ = 0, count_ = 0;
};

class Observer {
 public:
  explicit Observer(ObserverKind kind) : kind_(kind) {}

  /// A float32 tensor of any shape. Smallest and largest value are exact; the histogram takes an
  /// evenly spread sample of at most 32768 values a call.
  void observe(const at::Tensor& values);

  bool has_seen_values() const { return low_ <= high_; }
  /// False once a value was infinite or not a number; nothing is observed from then on.
  bool is_finite() const { return is_finite_; }
  /// Of what was seen; needs has_seen_values().
  QuantizedRange range() const;

 private:
  ObserverKind kind_;
  double low_ = 1, high_ = 0;  // low > high: nothing yet
  bool is_finite_ = true;
  std::int64_t calls_ = 0;
  Histogram histogram_;
};

}  // namespace edgecompress
