#include "edgecompress/error.h"
#include "train/trainer.h"

namespace edgecompress {

Options<TrainOptions> train_options(const TrainOptions& defaults, std::int64_t fewest_epochs) {
  Options<TrainOptions> o(defaults);
  o.add("epochs", &TrainOptions::epochs, "passes over the training set")
      .at_least(static_cast<double>(fewest_epochs));
  o.add("optimizer", &TrainOptions::optimizer, optimizer_options(defaults.optimizer),
        "how weights follow gradients");
  o.add("schedule", &TrainOptions::schedule, schedule_options(defaults.schedule),
        "how the learning rate moves");
  o.add("accumulate", &TrainOptions::accumulate,
        "batches whose gradients make one step, as if they were one batch")
      .at_least(1);
  o.add("clip_grad_norm", &TrainOptions::clip_grad_norm,
        "largest norm of all gradients together; 0: no clipping")
      .at_least(0);
  o.add("mixing", &TrainOptions::mixing, mixing_options(), "mix samples two by two");
  o.add("batch_norms", &TrainOptions::batch_norms,
        "train: statistics move along; frozen: they are used as they are and stay; reestimate: "
        "measured anew after each epoch")
      .one_of({"train", "frozen", "reestimate"});
  o.add("ema", &TrainOptions::ema,
        "decay of a moving average of the weights, which is what is scored and kept; 0: none")
      .at_least(0)
      .below(1);
  o.add("patience", &TrainOptions::patience,
        "stop after so many epochs without a better score; 0: never")
      .at_least(0);
  o.add("keep_best", &TrainOptions::keep_best,
        "end with the weights that scored best, those before training included");
  o.add("keep_zeros", &TrainOptions::keep_zeros, "weights that are exactly 0 (pruned) stay 0");
  return o;
}

TrainTask make_task(const std::string& name, const TrainOptions& options,
                    const TrainingContext& context) {
  const DataSets& data = *context.data;
  if (data.train == nullptr || data.train->size() == 0) {
    throw Error(ExitCode::kData, name + " needs training samples, but there are none",
                "give the recipe a data.train with at least one sample");
  }
  TrainTask task;
  task.name = name;
  task.options = options;
  task.data = data.train;
  task.batch_size = data.train_batch;
  task.seed = context.seed;
  task.score = context.score;
  task.checkpoint = context.checkpoint;
  return task;
}

std::vector<at::Tensor> TrainTask::sample() const {
  std::vector<std::int64_t> indices = {0};
  if (data->size() > 1) indices.push_back(1);
  return data->read(indices, seed).inputs;
}

}  // namespace edgecompress
