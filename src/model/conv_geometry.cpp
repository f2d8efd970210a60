#include "model/conv_geometry.h"

#include "model/layers.h"

namespace edgecompress {
namespace {

/// A single number counts for every dimension.
std::vector<std::int64_t> spread(const c10::IValue& value, std::size_t rank) {
  std::vector<std::int64_t> list = value.toIntVector();
  if (list.size() == 1) list.resize(rank, list.front());
  return list;
}

}  // namespace

std::optional<ConvGeometry> conv_geometry(const torch::jit::Node* node,
                                          at::IntArrayRef weight_sizes) {
  const c10::IValue stride = constant_argument(node, "stride"),
                    padding = constant_argument(node, "padding"),
                    dilation = constant_argument(node, "dilation"),
                    groups = constant_argument(node, "groups");
  const bool is_constant = stride.isIntList() && dilation.isIntList() && groups.isInt();
  if (!is_constant || weight_sizes.size() < 3) return std::nullopt;
  const std::size_t rank = weight_sizes.size() - 2;
  ConvGeometry geometry{spread(stride, rank), {}, spread(dilation, rank), groups.toInt(), {}};
  if (padding.isIntList()) {
    geometry.padding = spread(padding, rank);
  } else if (padding.isString() && padding.toStringRef() == "valid") {
    geometry.padding.assign(rank, 0);
  } else if (padding.isString()) {
    for (std::size_t i = 0; i < rank; ++i) {
      const std::int64_t total = geometry.dilation[i] * (weight_sizes[i + 2] - 1);
      if (total % 2 != 0) return std::nullopt;
      geometry.padding.push_back(total / 2);
    }
  } else {
    return std::nullopt;
  }
  const c10::IValue output_padding = constant_argument(node, "output_padding");
  if (output_padding.isIntList()) geometry.output_padding = spread(output_padding, rank);
  return geometry;
}

}  // namespace edgecompress
