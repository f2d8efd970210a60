// The one training loop: every training pass gives it a loss and the parameters to train.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "recipe/options.h"
#include "train/losses.h"
#include "train/mixing.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainable.h"
#include "train/training_context.h"

namespace edgecompress {

/// What every training pass lets its user choose.
struct TrainOptions {
  std::int64_t epochs = 1;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  std::int64_t accumulate = 1;  ///< batches whose gradients make one step
  double clip_grad_norm = 0;    ///< largest 2-norm of all gradients together; 0: no clipping
  std::optional<MixingOptions> mixing;
  std::string batch_norms = "train";  ///< train, frozen, reestimate (their statistics)
  double ema = 0;                     ///< decay of the weights' moving average; 0: none
  std::int64_t patience = 0;  ///< early stopping: epochs without a better score; 0: run them all
  bool keep_best = true;      ///< end with the weights of the best epoch by the choice set's score
  bool keep_zeros = true;     ///< weights that are exactly 0 (pruned) stay 0
};
/// To be spliced into a pass's options; `defaults` are the pass's own.
Options<TrainOptions> train_options(const TrainOptions& defaults = {},
                                    std::int64_t fewest_epochs = 1);

/// Called between a step's backward pass and its update, with the steps done before it and the
/// steps in all; may add to the gradients of the parameters. Empty: nothing is added.
using Regularizer = std::function<void(std::int64_t step, std::int64_t steps)>;

struct TrainTask {
  std::string name;                        ///< for messages and progress: "finetune"
  std::vector<ParameterGroup> parameters;  ///< every tensor that is in none stays as it is
  TrainOptions options;
  LossFunction loss;
  std::shared_ptr<const Dataset> data;
  std::int64_t batch_size = 64;
  std::uint64_t seed = 0;  ///< of the order, the augmentation and dropout
  Regularizer regularize;
  /// Where choices are made (patience, keep_best); empty: they are not made.
  std::function<Score(const Forward&)> score;
  Checkpoint checkpoint;
  at::Device device = at::kCPU;  ///< the loss gets outputs and batches there

  /// Inputs of one or two training samples, for trying things out.
  std::vector<at::Tensor> sample() const;
};
/// On the run's training set; loss and parameters are left to be filled in.
/// Throws Error(kData) without a training set.
TrainTask make_task(const std::string& name, const TrainOptions& options,
                    const TrainingContext& context);

struct TrainResult {
  std::int64_t parameters = 0;  ///< numbers trained
  std::int64_t steps = 0;
  std::int64_t best_epoch = 0;  ///< 1-based, the one whose weights were kept; 0: before training
  bool stopped_early = false;
  std::vector<double> losses;  ///< mean of each epoch
  std::vector<double> scores;  ///< of each epoch on the choice set; empty without one
  std::optional<double> score_before;
  std::string metric;

  /// For the report: totals, losses and scores by epoch, and one sentence.
  std::map<std::string, double> counts() const;
  Json curves() const;
  std::string summary() const;

  /// All that a training changes here as it goes on, for its checkpoints.
  Json stored() const;
  void restore(const Json& stored);
};

/// Trains `task.parameters` of `model` in place: training mode and gradients inside, eval mode and
/// the model's own `requires_grad` flags and memory layout after, also when it throws (then the
/// weights are those of the last whole step). The model and its batches are on the task's device
/// meanwhile, and the model on the CPU after it.
/// Running statistics of batch norms move along, stay (frozen), or are measured anew after each
/// epoch over at most 1024 training samples (reestimate).
/// With `ema` the averaged weights are what is scored and what the model ends with.
/// With a choice set and keep_best, the model ends with the weights that scored best there, those
/// before training included, so it is never worse than it was.
/// The same task on the same model gives the same bytes; LibTorch's global random state is left as
/// it was found.
/// The task's checkpoint is saved after each epoch, when its interval is over and when the training
/// is interrupted; if the one that is there is of the same training (name, seed, parameters and
/// their first values, steps), it goes on from there, to the same bytes.
/// Throws Error(kPass) if the loss becomes non-finite, naming epoch, step and learning rate, and
/// Error(kInterrupted).
TrainResult train(Model& model, const TrainTask& task, Progress& progress);

}  // namespace edgecompress
