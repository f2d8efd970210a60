#include "model/observer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace edgecompress {
namespace {

constexpr std::int64_t kSamplesPerCall = 32768;
constexpr std::size_t kMaxBins = 4096;
constexpr std::int64_t kFirstBins = 1024;  // from zero to the first value
constexpr int kCandidates = 128;           // for each end of the range
constexpr double kSteps = 255;

std::int64_t floor_half(std::int64_t value) { return value >> 1; }

/// One dimension, without a copy where the values have no gaps: their order does not matter, and
/// at::aminmax would first bring channels-last tensors to another.
at::Tensor in_memory_order(const at::Tensor& values) {
  return values.is_non_overlapping_and_dense() ? values.as_strided({values.numel()}, {1})
                                               : values.reshape({-1});
}

}  // namespace

/// Sums over all values below a bin's lower edge; values count as the middle of their bin.
struct Histogram::Moments {
  double count = 0, sum = 0, squares = 0;

  /// Sum of (x - edge)^2 over the values counted here.
  double distance(double edge) const { return squares - 2 * edge * sum + edge * edge * count; }
};

void Histogram::add(float value) {
  ++count_;
  if (value == 0) {
    ++zeros_;
    return;
  }
  if (width_ == 0) {
    width_ = std::max(std::abs(static_cast<double>(value)) / kFirstBins,
                      static_cast<double>(std::numeric_limits<float>::min()));
  }
  if (!has_room(value)) make_room(value);
  const auto bin = static_cast<std::int64_t>(std::floor(value / width_));
  ++counts_[static_cast<std::size_t>(bin - first_bin_)];
}

bool Histogram::has_room(double value) const {
  const double bin = std::floor(value / width_) - static_cast<double>(first_bin_);
  return bin >= 0 && bin < static_cast<double>(counts_.size());
}

/// Widens the counted bins, and the bins themselves where there would be too many.
void Histogram::make_room(double value) {
  while (!has_room(value)) {
    const double bin = std::floor(value / width_);
    const auto end = static_cast<double>(first_bin_) + static_cast<double>(counts_.size());
    const double low = std::min({bin, static_cast<double>(first_bin_), -1.0});
    const double high = std::max({bin + 1, end, 1.0});
    if (high - low > static_cast<double>(kMaxBins)) {
      merge_pairs();
      continue;
    }
    const auto front = first_bin_ - static_cast<std::int64_t>(low);
    counts_.insert(counts_.begin(), static_cast<std::size_t>(front), 0);
    counts_.resize(static_cast<std::size_t>(high - low), 0);
    first_bin_ = static_cast<std::int64_t>(low);
  }
}

void Histogram::merge_pairs() {
  const std::int64_t first = floor_half(first_bin_);
  std::vector<std::int64_t> merged(counts_.size() / 2 + 2, 0);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    const std::int64_t bin = floor_half(first_bin_ + static_cast<std::int64_t>(i));
    merged[static_cast<std::size_t>(bin - first)] += counts_[i];
  }
  counts_ = std::move(merged);
  first_bin_ = first;
  width_ *= 2;
}

std::vector<Histogram::Moments> Histogram::moments_below() const {
  std::vector<Moments> below(counts_.size() + 1);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    const double middle = (static_cast<double>(first_bin_) + static_cast<double>(i) + 0.5) * width_;
    const auto count = static_cast<double>(counts_[i]);
    below[i + 1] = {below[i].count + count, below[i].sum + count * middle,
                    below[i].squares + count * middle * middle};
  }
  return below;
}

Histogram::Range Histogram::best_range() const {
  if (counts_.empty()) return {};
  const std::vector<Moments> below = moments_below();
  const Moments& all = below.back();
  // Bins from zero down to the first counted one, and from zero up to the last.
  std::size_t first = 0, last = counts_.size();
  while (counts_[first] == 0) ++first;
  while (counts_[last - 1] == 0) --last;
  const auto zero = static_cast<std::size_t>(-first_bin_);
  const std::size_t down = zero > first ? zero - first : 0;
  const std::size_t up = last > zero ? last - zero : 0;

  Range best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = down > 0 ? 1 : kCandidates; i <= kCandidates; ++i) {
    const std::size_t low_bin = zero - (down * i + kCandidates - 1) / kCandidates;
    const double low = (static_cast<double>(low_bin) - static_cast<double>(zero)) * width_;
    const double clipped_low = below[low_bin].distance(low);
    for (int j = up > 0 ? 1 : kCandidates; j <= kCandidates; ++j) {
      const std::size_t high_bin = zero + (up * j + kCandidates - 1) / kCandidates;
      const double high = (static_cast<double>(high_bin) - static_cast<double>(zero)) * width_;
      const Moments above = {all.count - below[high_bin].count, all.sum - below[high_bin].sum,
                             all.squares - below[high_bin].squares};
      const double inside = below[high_bin].count - below[low_bin].count;
      const double step = (high - low) / kSteps;
      const double error = inside * step * step / 12 + clipped_low + above.distance(high);
      if (error < least) {
        least = error;
        best = {low, high};
      }
    }
  }
  return best;
}

void Observer::observe(const at::Tensor& values) {
  if (values.numel() == 0) return;
  const at::Tensor dense = in_memory_order(values);
  const auto [low, high] = at::aminmax(dense);
  const double call_low = low.item<float>();
  const double call_high = high.item<float>();
  is_finite_ = is_finite_ && std::isfinite(call_low) && std::isfinite(call_high);
  if (!is_finite_) return;
  const bool is_first = !has_seen_values();
  low_ = is_first ? call_low : std::min(low_, call_low);
  high_ = is_first ? call_high : std::max(high_, call_high);
  if (kind_ == ObserverKind::kMinMax) return;

  // Odd steps and moving starts: no fixed relation to rows or channels.
  const std::int64_t step = std::max<std::int64_t>(dense.numel() / kSamplesPerCall, 1) | 1;
  const float* data = dense.data_ptr<float>();
  for (std::int64_t i = calls_++ % step; i < dense.numel(); i += step) histogram_.add(data[i]);
  histogram_.add(static_cast<float>(call_low));
  histogram_.add(static_cast<float>(call_high));
}

QuantizedRange Observer::range() const {
  if (kind_ == ObserverKind::kMinMax) return choose_range(low_, high_);
  const Histogram::Range best = histogram_.best_range();
  // Bins are wider than what is in them.
  return choose_range(std::max(best.low, low_), std::min(best.high, high_));
}

}  // namespace edgecompress
