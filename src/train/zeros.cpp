#include "train/zeros.h"

#include <ATen/ATen.h>

namespace edgecompress {

at::Tensor pruned_positions(const at::Tensor& weight) {
  if (weight.dim() < 2) return {};
  const at::Tensor positions = weight.detach() == 0;
  const auto count = positions.sum().item<std::int64_t>();
  if (count == 0 || count == weight.numel()) return {};
  return positions;
}

KeptZeros::KeptZeros(const std::vector<at::Tensor>& parameters) {
  for (const at::Tensor& parameter : parameters) {
    at::Tensor positions = pruned_positions(parameter);
    if (positions.defined()) pruned_.push_back({parameter, std::move(positions)});
  }
}

void KeptZeros::mask_gradients() const {
  for (const Pruned& pruned : pruned_) {
    at::Tensor gradient = pruned.parameter.grad();
    if (gradient.defined()) gradient.masked_fill_(pruned.positions, 0);
  }
}

}  // namespace edgecompress
