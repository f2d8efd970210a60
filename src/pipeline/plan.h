// The plan of a run, for --dry-run.
#pragma once

#include <string>
#include <vector>

#include "pipeline/preparation.h"
#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// Steps with the options that differ from their defaults, what each will leave and take, sizes of
/// the data, what will be written. `forecasts`: one for each step.
std::string describe_plan(const Recipe& recipe, const Preparation& preparation,
                          const std::vector<Forecast>& forecasts);

}  // namespace edgecompress
