// The plan of a run, for --dry-run.
#pragma once

#include <string>

#include "pipeline/preparation.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// Steps with the options that differ from their defaults, sizes of the data, what will be written.
std::string describe_plan(const Recipe& recipe, const Preparation& preparation);

}  // namespace edgecompress
