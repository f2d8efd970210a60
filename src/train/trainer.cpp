#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>
#include <utility>

#include "edgecompress/error.h"
#include "train/layout.h"
#include "train/zeros.h"
#include "util/random.h"
#include "util/text.h"

namespace edgecompress {

Options<TrainOptions> train_options(const TrainOptions& defaults) {
  Options<TrainOptions> o(defaults);
  o.add("epochs", &TrainOptions::epochs, "passes over the training set").at_least(1);
  o.add("optimizer", &TrainOptions::optimizer, optimizer_options(defaults.optimizer),
        "how weights follow gradients");
  o.add("schedule", &TrainOptions::schedule, schedule_options(defaults.schedule),
        "how the learning rate moves");
  o.add("clip_grad_norm", &TrainOptions::clip_grad_norm,
        "largest norm of all gradients together; 0: no clipping")
      .at_least(0);
  o.add("patience", &TrainOptions::patience,
        "stop after so many epochs without a better score; 0: never")
      .at_least(0);
  o.add("keep_best", &TrainOptions::keep_best,
        "end with the weights that scored best, those before training included");
  o.add("keep_zeros", &TrainOptions::keep_zeros, "weights that are exactly 0 (pruned) stay 0");
  return o;
}

std::vector<ParameterGroup> floating_parameters(
    const Model& model, const std::function<bool(const std::string&)>& accepts) {
  ParameterGroup group;
  for (const auto& [name, parameter] : model.named_parameters()) {
    if (parameter.is_floating_point() && (!accepts || accepts(name))) group.names.push_back(name);
  }
  if (group.names.empty()) return {};
  return {group};
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

std::map<std::string, double> TrainResult::counts() const {
  return {{"parameters_trained", static_cast<double>(parameters)},
          {"steps", static_cast<double>(steps)},
          {"epochs", static_cast<double>(losses.size())},
          {"best_epoch", static_cast<double>(best_epoch)}};
}

Json TrainResult::curves() const {
  Json json = {{"losses", losses}};
  if (score_before) {
    json["metric"] = metric;
    json["score_before"] = *score_before;
    json["scores"] = scores;
    json["stopped_early"] = stopped_early;
  }
  return json;
}

std::string TrainResult::summary() const {
  std::string text =
      fmt::format("{} epochs, loss {:.4f} to {:.4f}", losses.size(), losses.front(), losses.back());
  if (!score_before) return text;
  if (best_epoch == 0) {
    return text + fmt::format("; no epoch was better than before ({} {:.4f}), so nothing changed",
                              metric, *score_before);
  }
  return text + fmt::format("; {} {:.4f} to {:.4f} (epoch {})", metric, *score_before,
                            scores.at(static_cast<std::size_t>(best_epoch - 1)), best_epoch);
}

namespace {

/// LibTorch's global random numbers (dropout) start from `seed`, and go on afterwards as if nothing
/// had been drawn.
class SeededGenerator {
 public:
  explicit SeededGenerator(std::uint64_t seed) : generator_(at::detail::getDefaultCPUGenerator()) {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    state_ = generator_.get_state();
    generator_.set_current_seed(seed);
  }
  ~SeededGenerator() {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    generator_.set_state(state_);
  }
  SeededGenerator(const SeededGenerator&) = delete;
  SeededGenerator& operator=(const SeededGenerator&) = delete;

 private:
  at::Generator generator_;
  at::Tensor state_;
};

/// Only the chosen parameters get gradients, each group from its start, so those of the others are
/// not even computed.
class Trainable {
 public:
  Trainable(Model& model, const std::vector<ParameterGroup>& groups) : model_(model) {
    for (auto& [name, parameter] : model.named_parameters()) {
      flags_.emplace_back(parameter, parameter.requires_grad());
      parameter.set_requires_grad(false);
    }
    for (const ParameterGroup& group : groups) {
      OptimizerGroup tensors;
      tensors.lr_factor = group.lr_factor;
      for (const std::string& name : group.names) tensors.parameters.push_back(model.tensor(name));
      groups_.push_back(tensors);
      starts_.push_back(group.start);
    }
  }
  ~Trainable() {
    model_.set_training(false);
    for (auto& [parameter, required_grad] : flags_) {
      parameter.mutable_grad().reset();
      parameter.set_requires_grad(required_grad);
    }
  }
  Trainable(const Trainable&) = delete;
  Trainable& operator=(const Trainable&) = delete;

  /// To be called before each step: what starts there gets gradients from now on.
  void reach(std::int64_t step, std::int64_t steps) {
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      const bool has_started = static_cast<double>(step) >= starts_[i] * static_cast<double>(steps);
      for (at::Tensor& parameter : groups_[i].parameters) parameter.set_requires_grad(has_started);
    }
  }
  const std::vector<OptimizerGroup>& groups() const { return groups_; }

 private:
  Model& model_;
  std::vector<std::pair<at::Tensor, bool>> flags_;
  std::vector<OptimizerGroup> groups_;
  std::vector<double> starts_;
};

/// What training can move: the chosen parameters and the running statistics.
class Snapshot {
 public:
  Snapshot(const Model& model, const std::vector<at::Tensor>& parameters) {
    for (const at::Tensor& parameter : parameters) copies_.emplace_back(parameter, at::Tensor());
    for (const auto& buffer : model.module().buffers()) copies_.emplace_back(buffer, at::Tensor());
    take();
  }
  void take() {
    for (auto& [live, copy] : copies_) copy = live.detach().clone();
  }
  void restore() {
    for (auto& [live, copy] : copies_) live.detach().copy_(copy);
  }

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> copies_;
};

class Training {
 public:
  Training(Model& model, const TrainTask& task, Progress& progress)
      : model_(model),
        task_(task),
        progress_(progress),
        layout_(model, task.sample()),
        generator_(derive_seed(task.seed, "dropout")),
        trainable_(model, task.parameters),
        optimizer_(trainable_.groups(), task.options.optimizer),
        zeros_(task.options.keep_zeros ? optimizer_.parameters() : std::vector<at::Tensor>{}) {
    if (task.score && task.options.keep_best) best_.emplace(model, optimizer_.parameters());
    for (const at::Tensor& parameter : optimizer_.parameters()) {
      result_.parameters += parameter.numel();
    }
  }

  TrainResult run() {
    if (task_.score) best_score_ = *(result_.score_before = score());
    started_ = std::chrono::steady_clock::now();
    for (std::int64_t epoch = 1; epoch <= task_.options.epochs; ++epoch) {
      result_.losses.push_back(run_epoch(epoch));
      if (!judge(epoch)) break;
    }
    finish();
    return result_;
  }

 private:
  double run_epoch(std::int64_t epoch) {
    // A last batch of one sample has no variance, which batch norm refuses.
    const bool drop_last =
        task_.data->size() > task_.batch_size && task_.data->size() % task_.batch_size == 1;
    Loader loader(task_.data, task_.batch_size, derive_seed(task_.seed, "order"), epoch, drop_last);
    total_steps_ = loader.batches() * task_.options.epochs;
    progress_.begin(fmt::format("{}, epoch {} of {}", task_.name, epoch, task_.options.epochs),
                    task_.data->size());
    model_.set_training(true);
    double sum = 0;
    std::int64_t samples = 0;
    for (Batch batch; loader.next(batch);) {
      sum += step(batch, epoch) * static_cast<double>(batch.size);
      samples += batch.size;
      samples_ += batch.size;
      progress_.advance(batch.size, detail(sum / static_cast<double>(samples)));
    }
    model_.set_training(false);
    progress_.end();
    return sum / static_cast<double>(samples);
  }

  /// One update; returns the loss before it.
  double step(Batch& batch, std::int64_t epoch) {
    const at::AutoGradMode with_gradients(true);
    const double lr = task_.options.optimizer.learning_rate() *
                      schedule_factor(task_.options.schedule, result_.steps, total_steps_);
    trainable_.reach(result_.steps, total_steps_);
    batch.inputs = layout_.lay_out(batch.inputs);
    at::Tensor loss = task_.loss(model_.forward(batch.inputs), batch);
    const double value = loss.item<double>();
    if (!std::isfinite(value)) fail(value, epoch, lr);
    optimizer_.forget_gradients();
    loss.backward();
    if (task_.regularize) task_.regularize(result_.steps, total_steps_);
    zeros_.mask_gradients();
    if (task_.options.clip_grad_norm > 0) {
      optimizer_.clip_gradients(task_.options.clip_grad_norm);
    }
    optimizer_.step(lr);
    ++result_.steps;
    return value;
  }

  [[noreturn]] void fail(double loss, std::int64_t epoch, double lr) const {
    throw Error(
        ExitCode::kPass,
        fmt::format("{}: the loss became {} in epoch {}, step {} of {} (learning rate {:.3g})",
                    task_.name, loss, epoch, result_.steps + 1, total_steps_, lr),
        "try a smaller optimizer.lr, a warm-up (schedule.warm_up 0.1) or clip_grad_norm 1");
  }

  double score() {
    const Score score = task_.score(
        [this](const std::vector<at::Tensor>& inputs) { return model_.forward(inputs); });
    higher_is_better_ = score.higher_is_better;
    result_.metric = score.metric;
    return score.value;
  }

  /// Scores the epoch that ended; false if training should stop.
  bool judge(std::int64_t epoch) {
    if (!task_.score) return true;
    const double now = score();
    result_.scores.push_back(now);
    if (higher_is_better_ ? now > best_score_ : now < best_score_) {
      best_score_ = now;
      result_.best_epoch = epoch;
      if (best_) best_->take();
    }
    const bool is_patient =
        task_.options.patience == 0 || epoch - result_.best_epoch < task_.options.patience;
    if (!is_patient && epoch < task_.options.epochs) result_.stopped_early = true;
    return is_patient;
  }

  void finish() {
    const auto last = static_cast<std::int64_t>(result_.losses.size());
    if (!best_) {
      result_.best_epoch = last;
    } else if (result_.best_epoch != last) {
      best_->restore();
    }
  }

  std::string detail(double loss) const {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    const auto all = static_cast<double>(task_.data->size() * task_.options.epochs);
    const double speed = static_cast<double>(samples_) / std::max(seconds, 1e-9);
    return fmt::format("loss {:.4f}, {:.0f} samples/s, {} left in all", loss, speed,
                       human_duration((all - static_cast<double>(samples_)) / speed));
  }

  Model& model_;
  const TrainTask& task_;
  Progress& progress_;
  ChannelsLast layout_;
  SeededGenerator generator_;
  Trainable trainable_;
  Optimizer optimizer_;
  KeptZeros zeros_;
  std::optional<Snapshot> best_;
  TrainResult result_;
  double best_score_ = 0;
  bool higher_is_better_ = true;
  std::int64_t total_steps_ = 0;
  std::int64_t samples_ = 0;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace

TrainResult train(Model& model, const TrainTask& task, Progress& progress) {
  return Training(model, task, progress).run();
}

}  // namespace edgecompress
