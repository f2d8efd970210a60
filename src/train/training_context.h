// What a pass hands on to its trainings.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "eval/evaluate.h"
#include "util/progress.h"

namespace edgecompress {

/// Where a training keeps its state, so that one that is cut short can go on where it was. Without
/// the functions nothing is kept.
struct Checkpoint {
  /// What was saved last; none: nothing was.
  std::function<std::optional<std::string>()> load;
  /// Replaces what was saved before. Atomic: after a crash the old bytes or the new ones are there.
  std::function<void(const std::string& bytes)> save;
  double interval_s = 60;  ///< between two that are saved within an epoch
};

/// All that trainings need of the run.
struct TrainingContext {
  explicit TrainingContext(Progress& shown) : progress(shown) {}

  Progress& progress;
  const DataSets* data = nullptr;
  std::uint64_t seed = 0;
  /// Where a training may run whose loss takes nothing from the CPU; before and after it the model
  /// is there.
  at::Device device = at::kCPU;
  /// The score on the set where choices are made (early stopping); empty without labels.
  std::function<Score(const Forward&)> score;
  /// A pass's trainings share it: the last one's state is what is there.
  Checkpoint checkpoint;

  /// The same with a seed of its own, for one of a pass's trainings.
  TrainingContext with_seed_for(const std::string& purpose) const;
};

}  // namespace edgecompress
