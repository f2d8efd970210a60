// Keeps pruned weights at zero while a network trains.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace edgecompress {

/// Where a pruned weight is zero, as a bool tensor of its shape: positions that are exactly 0 in a
/// weight of two or more dimensions that is not all zero (an all-zero one was not pruned but
/// starts there, as an adapter does). Undefined if there is none.
at::Tensor pruned_positions(const at::Tensor& weight);

class KeptZeros {
 public:
  explicit KeptZeros(const std::vector<at::Tensor>& parameters);
  /// To be called between backward and the optimiser's step. A gradient of zero is enough: decay,
  /// momentum and AdamW's moments of a zero weight that never had another gradient are zero too.
  void mask_gradients() const;

 private:
  struct Pruned {
    at::Tensor parameter, positions;
  };
  std::vector<Pruned> pruned_;
};

}  // namespace edgecompress
