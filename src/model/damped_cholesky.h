// Inverting sums of products that few samples may leave singular.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace edgecompress {

/// The lower Cholesky factor of products + damping I, products being symmetric, float64 [n, n]. The
/// damping grows tenfold, five times at most, until there is one; nothing if there is none then.
std::optional<at::Tensor> damped_cholesky(const at::Tensor& products, double damping);

}  // namespace edgecompress
