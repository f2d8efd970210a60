// Pruning in steps with training between them, as the pruning passes share it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/model.h"
#include "train/losses.h"
#include "train/trainer.h"

namespace edgecompress {

struct FineTuningOptions {
  TrainOptions train;
  LossOptions loss;
};
/// `defaults`: those of its training.
Options<FineTuningOptions> fine_tuning_options(const TrainOptions& defaults = {});

/// Throws Error(kRecipe) for fine-tuning between the steps of a single one.
void check_steps(const std::string& pass, std::int64_t steps,
                 const std::optional<FineTuningOptions>& fine_tuning);

/// How much of the way is done after step `step` of `steps`, counted from 1: 1 - (1 - t/T)^3. Zhu
/// & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for model
/// compression"
double cubic_way(std::int64_t step, std::int64_t steps);

/// Trains every parameter for the loss that the data's target asks for. `regularize` may be empty.
TrainResult fine_tune(Model& model, const FineTuningOptions& options, const std::string& pass,
                      const TrainingContext& context, const Regularizer& regularize = {});

}  // namespace edgecompress
