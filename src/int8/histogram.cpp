#include "int8/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace edgecompress {
namespace {

constexpr std::int64_t kMaxBins = 16384;
constexpr int kFirstBinsLog2 = 13;  // at most, from zero to the first call's farthest value

std::int64_t floor_half(std::int64_t value) { return value >> 1; }

/// The power of two of which `magnitude` takes at most 2^kFirstBinsLog2 bins, at least half of it.
double first_width(double magnitude) {
  const int exponent = std::ilogb(magnitude) + 1 - kFirstBinsLog2;
  return std::ldexp(1.0, std::max(exponent, std::numeric_limits<float>::min_exponent));
}

}  // namespace

void Histogram::add(const float* values, std::int64_t count, std::int64_t first, std::int64_t step,
                    double low, double high) {
  make_room(low, high);
  const double bins_per_unit = width_ > 0 ? 1 / width_ : 0;
  const auto last_index = static_cast<std::int64_t>(counts_.size()) - 1;
  for (std::int64_t i = first; i < count; i += step) {
    total_ += step;
    if (values[i] == 0 || last_index < 0) {
      zeros_ += step;
      continue;
    }
    // Some threads take denormals for zeros, so one may lie outside what others found the ends.
    const auto bin = static_cast<std::int64_t>(std::floor(values[i] * bins_per_unit));
    const auto index = std::clamp<std::int64_t>(bin - first_bin_, 0, last_index);
    counts_[static_cast<std::size_t>(index)] += step;
  }
}

Histogram Histogram::magnitudes() const {
  Histogram folded = *this;
  if (first_bin_ >= 0) return folded;
  const auto below = static_cast<std::size_t>(-first_bin_);
  folded.first_bin_ = 0;
  folded.counts_.assign(counts_.begin() + static_cast<std::ptrdiff_t>(below), counts_.end());
  folded.counts_.resize(std::max(folded.counts_.size(), below), 0);
  for (std::size_t i = 0; i < below; ++i) folded.counts_[i] += counts_[below - 1 - i];
  return folded;
}

/// Bins for every value in [low, high], and between those and zero.
void Histogram::make_room(double low, double high) {
  low = std::min(low, 0.0);
  high = std::max(high, 0.0);
  if (low == 0 && high == 0) return;
  if (width_ == 0) width_ = first_width(std::max(-low, high));
  while (true) {
    const auto end = first_bin_ + static_cast<std::int64_t>(counts_.size());
    const auto first = std::min(std::floor(low / width_), static_cast<double>(first_bin_));
    const auto last = std::max(std::floor(high / width_) + 1, static_cast<double>(end));
    if (last - first > static_cast<double>(kMaxBins)) {
      merge_pairs();
      continue;
    }
    counts_.insert(counts_.begin(), static_cast<std::size_t>(first_bin_ - first), 0);
    counts_.resize(static_cast<std::size_t>(last - first), 0);
    first_bin_ = static_cast<std::int64_t>(first);
    return;
  }
}

void Histogram::merge_pairs() {
  const std::int64_t first = floor_half(first_bin_);
  const std::int64_t last = floor_half(first_bin_ + static_cast<std::int64_t>(counts_.size()) - 1);
  std::vector<std::int64_t> merged(counts_.empty() ? 0 : static_cast<std::size_t>(last - first + 1),
                                   0);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    const std::int64_t bin = floor_half(first_bin_ + static_cast<std::int64_t>(i));
    merged[static_cast<std::size_t>(bin - first)] += counts_[i];
  }
  counts_ = std::move(merged);
  first_bin_ = first;
  width_ *= 2;
}

}  // namespace edgecompress
