// What a run leaves in its folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipeline/runner.h"
#include "recipe/recipe.h"

namespace edgecompress {

constexpr const char* kResolvedRecipe = "recipe.resolved.json";

/// Names of the files that every run of this recipe writes, for the plan of a dry run.
std::vector<std::string> planned_outputs(const Recipe& recipe);

/// Writes model, reports, resolved recipe and the passes' files into `folder`, where run.log
/// already is, and names them in the report. Throws Error(kOutput).
void write_outputs(const Recipe& recipe, Runner& runner, const std::filesystem::path& folder);

}  // namespace edgecompress
