// Functions of one number on INT8 values: whatever they are, there are 256 results.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include "int8/quantized.h"

namespace edgecompress {

/// uint8, [256]: what the node makes of each q, as the node itself computes it in float, rounded to
/// `output` and saturated there. Its first input is the number, the others are constants.
at::Tensor make_int8_table(const torch::jit::Node& node, QuantizedRange input,
                           QuantizedRange output);

}  // namespace edgecompress
