// The networks that whole runs are tested with.
#pragma once

#include <string>
#include <vector>

#include "support/tiny_models.h"

namespace edgecompress::testing {

/// Those of the contract suite; under sanitizers, several times as slow, two that are unlike.
inline std::vector<std::string> networks_of_runs() {
#ifdef __SANITIZE_ADDRESS__
  return {"residual_cnn", "lstm"};
#else
  return tiny_model_names();
#endif
}

}  // namespace edgecompress::testing
