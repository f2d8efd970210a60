// Which BLAS kernels this CPU deserves. OpenBLAS 0.3.21 takes newer CPUs for a Prescott (SSE3) and
// runs float matmul four times slower than it could; it reads OPENBLAS_CORETYPE when it is loaded,
// so the variable must be set before LibTorch is.
#pragma once

#include <string>

namespace edgecompress {

/// OpenBLAS's name for the best kernels this CPU can run ("SkylakeX", "Haswell", "Zen", ...), or ""
/// where we know none better than its own choice.
std::string best_openblas_core();

/// Sets OPENBLAS_CORETYPE to best_openblas_core() unless the user has set it.
/// Call before the BLAS library is loaded; later it has no effect.
void choose_openblas_core();

std::string cpu_name();

}  // namespace edgecompress
