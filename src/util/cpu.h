// Which BLAS kernels this CPU deserves, and how long idle OpenMP threads keep it busy. OpenBLAS and
// GNU OpenMP read their variables when they are loaded, so these must be set before LibTorch is.
//
// OpenBLAS 0.3.21 takes newer CPUs for a Prescott (SSE3) and runs float matmul four times slower
// than it could. GNU OpenMP's threads spin for milliseconds at the end of each loop, which on a
// machine that others use too is time that the thread they wait for does not get.
#pragma once

#include <string>

namespace edgecompress {

/// OpenBLAS's name for the best kernels this CPU can run ("SkylakeX", "Haswell", "Zen", ...), or ""
/// where we know none better than its own choice.
std::string best_openblas_core();

/// Sets OPENBLAS_CORETYPE to best_openblas_core() unless the user has set it.
/// Call before the BLAS library is loaded; later it has no effect.
void choose_openblas_core();

/// Sets GOMP_SPINCOUNT to a tenth of a millisecond or so, unless the user has set it or
/// OMP_WAIT_POLICY. Call before GNU OpenMP is loaded; later it has no effect.
void choose_openmp_spin();

std::string cpu_name();

/// Whether 8-bit products are added in 32 bits by instructions of their own: on x86 those of VNNI
/// (AVX512 or AVX). Other architectures add so in any case.
bool has_int8_dot_products();

}  // namespace edgecompress
