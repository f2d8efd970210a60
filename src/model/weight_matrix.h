// The weights that pruning works on, each seen as a matrix that multiplies input features.
//
//   linear       [out, in]            row = output feature, column = input feature
//   convolution  [out, in, k...]      row = output channel, columns = kernel positions x input
//                                     channels: the channels of one position follow each other
//   transposed   [in, out, k...]      the same
//   RNN          [gates * hidden, in] as it is
//
// With groups, `in` are the input channels of a row's own group, and rows of a group follow each
// other. Columns that follow each other as one "run" are the channels of one kernel position: what
// n:m kernels (2:4 tensor cores, XNNPACK) count their m along.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/layer_filter.h"
#include "model/layers.h"

namespace edgecompress {

struct PrunableWeight {
  std::string layer, weight;  ///< dotted names
  LayerKind kind = LayerKind::kOther;
  std::vector<std::int64_t> sizes;
  std::int64_t groups = 1;
  /// The nodes that multiply with it: several where it is shared.
  std::vector<const torch::jit::Node*> nodes;

  std::int64_t size() const;     ///< weights
  std::int64_t rows() const;     ///< of the matrix
  std::int64_t columns() const;  ///< of the matrix
  std::int64_t run() const;      ///< columns of one kernel position

  /// float32 [rows, columns], a copy.
  at::Tensor to_matrix(const at::Tensor& weight) const;
  /// What to_matrix() was made of, contiguous, in the matrix's dtype.
  at::Tensor from_matrix(const at::Tensor& matrix) const;

  /// Whether input_features() can be taken: of linear layers and convolutions whose geometry is
  /// constant.
  bool has_features() const;
};

/// Weight matrices of convolutions, linear layers and RNNs whose name the filter accepts, in
/// execution order, shared ones once.
/// Throws Error(kPass) for a weight that isn't finite.
std::vector<PrunableWeight> find_prunable_weights(const Model& model, const LayerFilter& filter);

/// What the columns of the matrix are multiplied with when `node` (one of weight.nodes) runs on
/// `input`: [groups, columns, positions], one position for each output pixel, token or sample, so
/// that each group's rows times it are the layer's outputs without bias (im2col).
/// Needs has_features().
at::Tensor input_features(const PrunableWeight& weight, const torch::jit::Node& node,
                          const at::Tensor& input);

/// The input in parts, along its samples, whose features take at most 64 MiB each (or are one
/// sample's). `positions`: those of the whole input.
std::vector<at::Tensor> split_for_features(const PrunableWeight& weight, const at::Tensor& input,
                                           std::int64_t positions);

}  // namespace edgecompress
