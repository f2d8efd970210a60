#include "model/canonical.h"

#include <exception>

#include "model/torch_compat.h"

namespace edgecompress {

Canonical canonicalise(const torch::jit::Module& module, const std::vector<InputSpec>&) {
  Canonical canonical{module.clone(), {}};
  canonical.module.eval();
  try {
    canonical.module = torch::jit::freeze_module(canonical.module, {}, true, true);
  } catch (const std::exception& error) {
    canonical.findings.push_back({Finding::Kind::kNotCanonical, "forward", error.what()});
  }
  return canonical;
}

}  // namespace edgecompress
