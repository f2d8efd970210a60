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
  /// Latency::form of an earlier measurement, to be timed in again; empty: the fastest is looked
  /// for.
  std::string form = {};
};

/// Every model is tried in the forms LibTorch offers for it (as stored; frozen with batch norms
/// folded; that in channels_last; optimize_for_inference), the fastest is kept (Latency::form), and
/// then all are timed in turn, one repeat each, so that noise of the machine falls on all alike.
/// Medians, 10th and 90th percentiles after `spec.warm_up`, of `spec.repeats` or of as many more as
/// take 0.2 s of each, 1000 at most (Latency::repeats says how many). A form that fails to
/// run or gives other outputs than the stored one (beyond float tolerance) is left out; see
/// forms.h. Inputs are seeded example batches, threads are set for the measurement and restored
/// after it. `spec.repeats` is at least 1. Throws Error(kModel) for a file that doesn't load or
/// run.
std::vector<Latency> measure_latency(const std::vector<LatencyCandidate>& candidates,
                                     const std::vector<InputSpec>& inputs, const LatencySpec& spec,
                                     Progress& progress);

/// The `percent`-th percentile, interpolated linearly between the two nearest values; `values` is
/// not empty, in any order.
double percentile(std::vector<double> values, double percent);

}  // namespace edgecompress
