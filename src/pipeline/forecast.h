// What each step of a run will leave and take, told by doing the run on a little of its data.
#pragma once

#include <vector>

#include "pipeline/preparation.h"
#include "recipe/recipe.h"
#include "report/report.h"
#include "util/progress.h"
#include "util/result_store.h"

namespace edgecompress {

/// One for each step. The recipe is done a few times on 2 to 6 batches of every set, one epoch
/// each: structure comes out as in the run (but where measurements decide, in auto modes and by
/// latency); a step's time is a part that stays and one that grows with its data and epochs. Files
/// are made in the folder for temporary files and removed.
std::vector<Forecast> forecast_steps(const Recipe& recipe, const Preparation& preparation,
                                     Progress& progress);

/// Keeps forecasts until the run that they are of: the same recipe, model, data and machine.
/// `sha256`: of model and data.
class ForecastStore {
 public:
  explicit ForecastStore(ResultStore store);
  void keep(const Recipe& recipe, const std::map<std::string, std::string>& sha256,
            const std::vector<Forecast>& forecasts) const;
  /// Puts forecasts, where there are any, beside the steps that they were of.
  void compare(const Recipe& recipe, Report& report) const;

 private:
  ResultStore store_;
};

}  // namespace edgecompress
