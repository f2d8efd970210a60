// Brings a loaded module to canonical form; see model.h for what that is.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <vector>

#include "model/model.h"

namespace edgecompress {

struct Canonical {
  torch::jit::Module module;
  std::vector<Finding> findings;
};

/// `module` is not changed. Never throws for what can't be brought to the form: it is named
/// instead.
Canonical canonicalise(const torch::jit::Module& module, const std::vector<InputSpec>& inputs);

}  // namespace edgecompress
