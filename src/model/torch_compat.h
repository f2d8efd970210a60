// Every difference between the LibTorch versions that we support, in one place: 1.13 (Debian 12),
// 2.6 (Debian 13), 2.14 (Debian forky). CMake's side of it is cmake/LibTorch.cmake.
#pragma once

#include <ATen/Parallel.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/version.h>

namespace torch::jit {
// Exported by every version, but 1.13 and 2.6 don't ship the headers that declare them.
TORCH_API void overrideCanFuseOnCPU(bool value);
TORCH_API void setTensorExprFuserEnabled(bool value);
}  // namespace torch::jit
