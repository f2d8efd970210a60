// Signal-to-quantization-noise ratio: the one measure of how far rounded numbers are from exact
// ones.
#pragma once

#include <algorithm>
#include <cmath>

namespace edgecompress {

constexpr double kSqnrLimitDb = 200.0;

/// 10 log10(signal / noise) of two sums of squares, in [-200, 200] dB: 200 where there is no noise,
/// -200 where either is not a number or infinite.
inline double sqnr_db(double signal, double noise) {
  if (noise == 0 && std::isfinite(signal)) return kSqnrLimitDb;
  if (!std::isfinite(signal) || !std::isfinite(noise)) return -kSqnrLimitDb;
  return std::clamp(10 * std::log10(signal / noise), -kSqnrLimitDb, kSqnrLimitDb);
}

}  // namespace edgecompress
