// Carries an Int8Plan out: the graph afterwards runs LibTorch's INT8 kernels.
#pragma once

#include <functional>
#include <vector>

#include "model/int8_plan.h"

namespace edgecompress {

/// The range that calibration found for a measured value.
using RangeOf = std::function<QuantizedRange(const torch::jit::Value*)>;

/// Replaces every op of the plan. Float values that INT8 ops read are quantized once, where they
/// are made; INT8 values that float ops (or the caller) read are dequantized once; nothing is
/// quantized back. Weights become packed attributes, and float weights that nobody reads any more
/// are removed. Returns the layers that are INT8 now.
std::vector<Int8Layer> rewrite_static_int8(Model& model, const Int8Plan& plan,
                                           const RangeOf& range_of, bool per_channel,
                                           std::int64_t largest_weight);

/// Removes dropouts that do nothing in eval mode; returns how many.
std::int64_t remove_dropouts(Model& model);

}  // namespace edgecompress
