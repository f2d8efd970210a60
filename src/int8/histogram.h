// How often which values occur, counted while they stream by: bounded memory, whatever their number
// and however far they reach.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgecompress {

/// Counts in equal bins whose width is a power of two and whose edges are multiples of it: when
/// later values need more room, bins are merged in pairs, exactly. Between 4096 and 16384 bins from
/// the smallest to the largest value, or from zero where all have one sign.
class Histogram {
 public:
  /// Every `step`-th of `count` values from `first` on, each counted `step` times. All of them lie
  /// in [low, high] and are finite.
  void add(const float* values, std::int64_t count, std::int64_t first, std::int64_t step,
           double low, double high);
  /// Of |x|.
  Histogram magnitudes() const;

  double width() const { return width_; }
  /// counts()[i] is of the values in [(first_bin() + i) width, (first_bin() + i + 1) width), but
  /// the zeros. The edge at zero is among the bins' edges.
  const std::vector<std::int64_t>& counts() const { return counts_; }
  std::int64_t first_bin() const { return first_bin_; }
  std::int64_t zeros() const { return zeros_; }
  std::int64_t total() const { return total_; }  ///< zeros included

 private:
  void make_room(double low, double high);
  void merge_pairs();

  double width_ = 0;  // 0: nothing but zeros was seen
  std::int64_t first_bin_ = 0;
  std::vector<std::int64_t> counts_;
  std::int64_t zeros_ = 0, total_ = 0;
};

}  // namespace edgecompress
