// The state of this process that honest numbers hang on: threads, BLAS kernels, fusers, denormals.
#pragma once

#include <cstdint>
#include <string>

#include "report/report.h"

namespace edgecompress {

/// Once a process, before any model runs: CPU fusers off (2.6 never finishes with them), denormals
/// flushed to zero, quantized engine chosen. Safe to call again.
void initialise_runtime();

/// Threads of LibTorch *and* of the BLAS library (LibTorch's own call doesn't reach OpenBLAS).
/// 0: every core that this process may use. Returns the number set.
std::int64_t set_threads(std::int64_t threads);

/// What ran, for the report.
Environment describe_environment();

/// The BLAS library that this process's float matrix products end in.
struct Blas {
  static constexpr const char* kReference = "reference BLAS";
  std::string name;     ///< "OpenBLAS 0.3.21", "MKL", kReference, or the library's file name
  std::string core;     ///< the kernels OpenBLAS chose ("Haswell"); "" for other libraries
  std::string library;  ///< its file, links followed
};
Blas describe_blas();

/// "" if the library and its kernels fit this CPU, else one sentence that says what runs, what
/// should run, and what mends it. See util/cpu.h for how the wrong kernels are prevented.
std::string blas_complaint(const Blas& blas);

/// Loads a shared object that registers custom operators. Throws Error(kModel).
void load_op_library(const std::string& path);

}  // namespace edgecompress
