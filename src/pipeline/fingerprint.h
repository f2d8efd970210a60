// What the result of a step hangs on, so that a result is used again only where it would come out
// the same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "pipeline/preparation.h"
#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// Of step `index`: this program's own code, LibTorch and the machine's kernels, model at its start
/// (`model`, a file), options and the files that they name, seed, data, metric, threads. `report`
/// tells what the run has fingerprinted already; `has_own_labels` is of the model at its start.
Json step_fingerprint(const Recipe& recipe, const Preparation& preparation, const Report& report,
                      std::size_t index, const std::filesystem::path& model, bool has_own_labels,
                      const std::string& device);

/// Which values are others now: "/options/epochs was 3 and is 5".
std::string describe_differences(const Json& before, const Json& now);

}  // namespace edgecompress
