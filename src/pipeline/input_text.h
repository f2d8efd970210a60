// Shapes of inputs as they are given on a command line.
#pragma once

#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace edgecompress {

/// "1x3x224x224" is float32; "4x16:int64" names the type. Throws Error(kUsage).
std::vector<InputSpec> parse_inputs(const std::vector<std::string>& texts);

}  // namespace edgecompress
