// A copy of a module that shares nothing with it.
#pragma once

#include <torch/csrc/jit/api/module.h>

namespace edgecompress {

/// Tensors, packed parameters, types and graphs are the copy's own, and each submodule has a type
/// of its own, so attributes can be added and removed one by one. Tensors that were one stay one.
/// Type names hang on the original class and the attribute path alone, so what is saved later does
/// not depend on how often a module was copied before. A module that still calls methods or
/// functions keeps the types those need (torch::jit::Module::clone).
torch::jit::Module clone_module(const torch::jit::Module& module);

}  // namespace edgecompress
