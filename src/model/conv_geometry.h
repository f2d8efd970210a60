// How a convolution moves over its input.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace edgecompress {

/// One number a spatial dimension; `output_padding` is of transposed ones, else empty.
struct ConvGeometry {
  std::vector<std::int64_t> stride, padding, dilation;
  std::int64_t groups = 1;
  std::vector<std::int64_t> output_padding = {};
};

/// Of aten::conv1d..3d and aten::conv_transpose1d..3d with a weight of these sizes; nothing where
/// an argument is no constant, or where "same" pads one side more than the other.
std::optional<ConvGeometry> conv_geometry(const torch::jit::Node* node,
                                          at::IntArrayRef weight_sizes);

}  // namespace edgecompress
