// Which part of what a histogram counted 8 bits should cover. Every range holds zero and ends
// inside what was seen; values outside it will be clipped to its ends.
#pragma once

#include <cstdint>

#include "int8/histogram.h"

namespace edgecompress {

struct ValueRange {
  double low = 0, high = 0;
};

/// The range without the (100 - percentile) % of the values that lie farthest out: half of them at
/// each end, or all at one if none lie beyond zero on the other. Values are taken to be spread
/// evenly over their bin.
ValueRange percentile_range(const Histogram& histogram, double percentile);

/// The range of least expected squared error with `steps` steps from end to end:
///
///   N_in (high - low)^2 / (12 steps^2)  +  sum over x > high of (x - high)^2
///                                       +  sum over x < low of (low - x)^2
///
/// N_in counts the values inside but the zeros, which INT8 holds exactly (a ReLU gives many). The
/// first term is the rounding error of uniform steps, the rest is clipping: Banner et al. 2019,
/// "Post training 4-bit quantization of convolutional networks for rapid-deployment", eq. 4, with
/// the measured distribution in the place of theirs.
ValueRange least_squared_error(const Histogram& histogram, std::int64_t steps);

/// The range whose steps keep most of the distribution: the least Kullback-Leibler divergence
///
///   sum over bins i inside of  p_i log(p_i / q_i)
///
/// p: the bins inside, the values outside added to the outermost ones that hold any. q: what the
/// `steps` + 1 levels leave of the bins inside; each level's count is spread evenly over those of
/// its bins that hold any. Both sum to 1; zeros are left out. Migacz 2017, "8-bit Inference with
/// TensorRT", for ranges with two ends: in turn the best end for the other one's place.
ValueRange least_divergence(const Histogram& histogram, std::int64_t steps);

}  // namespace edgecompress
