// Latency of stored models, side by side.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "recipe/recipe.h"
#include "report/report.h"
#include "util/progress.h"

namespace edgecompress {

struct LatencyCandidate {
  std::string name;
  std::filesystem::path path;
};

/// Every model is tried in the forms LibTorch offers for it (as stored; frozen with batch norms
/// folded; that in channels_last; optimize_for_inference), the fastest is kept (Latency::form), and
/// then all are timed in turn, one repeat each, so that noise of the machine falls on all alike.
/// Medians, 10th and 90th percentiles of `spec.repeats` after `spec.warm_up`. A form that fails to
/// run or gives other outputs than the stored one (beyond float tolerance) is left out.
std::vector<Latency> measure_latency(const std::vector<LatencyCandidate>& candidates,
                                     const std::vector<InputSpec>& inputs, const LatencySpec& spec,
                                     Progress& progress);

}  // namespace edgecompress
