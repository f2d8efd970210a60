#include "train/fine_tuning.h"

#include "edgecompress/error.h"

namespace edgecompress {

Options<FineTuningOptions> fine_tuning_options(const TrainOptions& defaults) {
  Options<FineTuningOptions> options;
  options.splice(&FineTuningOptions::train, train_options(defaults));
  options.splice(&FineTuningOptions::loss, loss_options());
  return options;
}

void check_steps(const std::string& pass, std::int64_t steps,
                 const std::optional<FineTuningOptions>& fine_tuning) {
  if (!fine_tuning || steps > 1) return;
  throw Error(ExitCode::kRecipe, pass + ": fine_tuning runs between steps, but there is only one",
              "give steps of at least 2, or a finetune pass after this one");
}

double cubic_way(std::int64_t step, std::int64_t steps) {
  const double left = 1 - static_cast<double>(step) / static_cast<double>(steps);
  return 1 - left * left * left;
}

TrainResult fine_tune(Model& model, const FineTuningOptions& options, const std::string& pass,
                      const TrainingContext& context, const Regularizer& regularize) {
  TrainTask task = make_task(pass, options.train, context);
  task.loss = target_loss(options.loss);
  task.regularize = regularize;
  task.parameters = floating_parameters(model);
  return train(model, task, context.progress);
}

}  // namespace edgecompress
