// Carries an Int8Scheme out: the graph afterwards runs LibTorch's INT8 kernels.
#pragma once

#include <vector>

#include "int8/int8_scheme.h"

namespace edgecompress {

/// Replaces every op of the scheme's plan. Float values that INT8 ops read are quantized once,
/// where they are made; INT8 values that float ops (or the caller) read are dequantized once;
/// nothing is quantized back. Weights become packed attributes, and float weights that nobody reads
/// any more are removed. Returns all layers of the plan, those that stay float included.
std::vector<Int8Layer> rewrite_static_int8(Model& model, const Int8Scheme& scheme);

/// Removes dropouts that do nothing in eval mode; returns how many.
std::int64_t remove_dropouts(Model& model);

}  // namespace edgecompress
