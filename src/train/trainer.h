// The one training loop: every training pass gives it a loss and the parameters to train.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "eval/evaluate.h"
#include "model/model.h"
#include "recipe/options.h"
#include "util/progress.h"

namespace edgecompress {

struct OptimizerOptions {
  std::string name = "sgd";  ///< sgd, adamw
  double lr = 0.01;
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 1e-4;  ///< not on tensors of one dimension (norms, biases)
};
struct ScheduleOptions {
  std::string name = "cosine";                   ///< constant, cosine, step
  double warm_up = 0.0;                          ///< share of the steps with a linear ramp, [0, 1)
  double gamma = 0.1;                            ///< step: factor at each milestone
  std::vector<double> milestones = {0.5, 0.75};  ///< step: shares of the training
};
struct TrainOptions {
  std::int64_t epochs = 1;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  double clip_grad_norm = 0;  ///< 0: none
  std::int64_t patience = 0;  ///< early stopping: epochs without a better score; 0: run them all
  bool keep_best = true;      ///< end with the weights of the best epoch by the choice set's score
  bool keep_zeros = true;     ///< weights that are exactly 0 (pruned) stay 0
};
/// Declares these on a pass's own struct; `train` is the member that holds them... see trainer.cpp.
Options<OptimizerOptions> optimizer_options();
Options<ScheduleOptions> schedule_options();

/// Loss of one batch: the model's outputs, the batch -> scalar.
using LossFunction =
    std::function<at::Tensor(const std::vector<at::Tensor>& outputs, const Batch& batch)>;

struct TrainResult {
  std::int64_t steps = 0;
  std::int64_t best_epoch = 0;  ///< 1-based; 0: before training
  std::vector<double> losses;   ///< mean of each epoch
  std::vector<double> scores;   ///< of each epoch on the choice set; empty without one
  std::optional<double> score_before;
};

/// Trains the named parameters of `model` in place (train mode inside, eval mode after).
/// Throws Error(kPass) if the loss becomes non-finite.
TrainResult train(Model& model, const std::vector<std::string>& parameters,
                  const TrainOptions& options, const LossFunction& loss,
                  std::shared_ptr<const Dataset> data, std::int64_t batch_size, std::uint64_t seed,
                  const std::function<Score(const Forward&)>& score, Progress& progress);

}  // namespace edgecompress
