// Every difference between the LibTorch versions that we support, in one place: 1.13 (Debian 12),
// 2.6 (Debian 13), 2.14 (Debian forky). CMake's side of it is cmake/LibTorch.cmake.
#pragma once

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/version.h>

namespace torch::jit {
// Exported by every version, but 1.13 and 2.6 don't ship the headers that declare them.
TORCH_API void overrideCanFuseOnCPU(bool value);
TORCH_API void setTensorExprFuserEnabled(bool value);
}  // namespace torch::jit

namespace edgecompress {

#if TORCH_VERSION_MAJOR < 2
namespace torch_warnings = c10::Warning;
#else
namespace torch_warnings = c10::WarningUtils;
#endif

/// While it lives, LibTorch's warnings of this thread go nowhere.
class IgnoreWarnings {
 private:
  struct Handler : c10::WarningHandler {
#if TORCH_VERSION_MAJOR < 2
    void process(const c10::SourceLocation&, const std::string&, const bool) override {}
#else
    void process(const c10::Warning&) override {}
#endif
  };
  Handler handler_;
  torch_warnings::WarningHandlerGuard guard_{&handler_};
};

/// After 2.6, LibTorch warns once a process, at its first quantized tensor, that those dtypes will
/// be removed (pytorch#184982). A user can do nothing about it, so the first one is made here,
/// silently.
inline void spend_quantized_warning() {
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR > 6)
  const IgnoreWarnings ignore{};
  at::quantize_per_tensor(at::zeros({1}), 1.0, 0, at::kQInt8);
#endif
}

}  // namespace edgecompress
