#include "model/damped_cholesky.h"

#include <ATen/ATen.h>

namespace edgecompress {

std::optional<at::Tensor> damped_cholesky(const at::Tensor& products, double damping) {
  constexpr int kAttempts = 6;
  for (int attempt = 0; attempt < kAttempts; ++attempt, damping *= 10) {
    at::Tensor damped = products.clone();
    damped.diagonal().add_(damping);
    const auto [lower, failed] = at::linalg_cholesky_ex(damped);
    if (failed.item<int>() == 0) return lower;
  }
  return std::nullopt;
}

}  // namespace edgecompress
