// The list of passes, from passes.def.
#pragma once

#include <vector>

#include "passes/pass.h"

namespace edgecompress {

const std::vector<PassSpec>& pass_registry();
/// Throws Error(kInternal) if there is none of that name (recipes are checked before).
const PassSpec& find_pass(const std::string& name);

}  // namespace edgecompress
