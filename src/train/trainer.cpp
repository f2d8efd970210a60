#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>
#include <utility>

#include "data/views.h"
#include "edgecompress/error.h"
#include "model/device.h"
#include "train/batch_norm_estimation.h"
#include "train/frozen_batch_norms.h"
#include "train/layout.h"
#include "train/steady_heap.h"
#include "train/training_state.h"
#include "train/weights.h"
#include "train/zeros.h"
#include "util/hash.h"
#include "util/random.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// LibTorch's global random numbers (dropout) of a device; they go on afterwards as if nothing had
/// been drawn.
class SeededGenerator {
 public:
  explicit SeededGenerator(at::Device device)
      : generator_(at::globalContext().defaultGenerator(device)) {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    state_ = generator_.get_state();
  }
  ~SeededGenerator() {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    generator_.set_state(state_);
  }
  SeededGenerator(const SeededGenerator&) = delete;
  SeededGenerator& operator=(const SeededGenerator&) = delete;

  void start_from(std::uint64_t seed) {
    const std::lock_guard<std::mutex> lock(generator_.mutex());
    generator_.set_current_seed(seed);
  }

 private:
  at::Generator generator_;
  at::Tensor state_;
};

at::Device device_of(const Model& model) {
  const auto parameters = model.named_parameters();
  return parameters.empty() ? at::Device(at::kCPU) : parameters.front().second.device();
}

std::vector<at::Tensor> on_device(std::vector<at::Tensor> tensors, at::Device device) {
  for (at::Tensor& tensor : tensors) tensor = tensor.to(device);
  return tensors;
}

class Training {
 public:
  Training(Model& model, const TrainTask& task, Progress& progress)
      : model_(model),
        task_(task),
        options_(task.options),
        progress_(progress),
        device_(device_of(model)),
        layout_(model, on_device(task.sample(), device_)),
        generator_(device_),
        trainable_(model, task.parameters),
        optimizer_(trainable_.groups(), options_.optimizer),
        zeros_(options_.keep_zeros ? optimizer_.parameters() : std::vector<at::Tensor>{}),
        moving_(moving_tensors(model, optimizer_.parameters())) {
    if (options_.batch_norms == "frozen") frozen_batch_norms_.emplace(model);
    if (options_.ema > 0) average_.emplace(moving_, options_.ema);
    if (task.score && options_.keep_best) best_.emplace(moving_);
    for (const at::Tensor& parameter : optimizer_.parameters()) {
      result_.parameters += parameter.numel();
    }
    const std::int64_t size = task.data->size(), batch = task.batch_size;
    // A last batch of one sample has no variance, which batch norm refuses.
    drops_last_ = size > batch && size % batch == 1;
    epoch_samples_ = drops_last_ ? size - 1 : size;
    const std::int64_t samples_a_step = batch * options_.accumulate;
    total_steps_ = (epoch_samples_ + samples_a_step - 1) / samples_a_step * options_.epochs;
  }

  TrainResult run() {
    resume();
    started_ = saved_ = std::chrono::steady_clock::now();
    try {
      if (task_.score && !result_.score_before) best_score_ = *(result_.score_before = score());
      while (state_.epoch <= options_.epochs) {
        run_epoch();
        const bool goes_on = judge();
        start_epoch(goes_on ? state_.epoch + 1 : options_.epochs + 1);
        save();
      }
    } catch (const Error& error) {
      if (error.code() == ExitCode::kInterrupted) save();
      throw;
    }
    finish();
    return result_;
  }

 private:
  void start_epoch(std::int64_t epoch) {
    state_.epoch = epoch;
    state_.batches = state_.samples = 0;
    state_.loss_sum = 0;
  }

  void run_epoch() {
    Loader loader(task_.data, task_.batch_size, derive_seed(task_.seed, "order"), state_.epoch,
                  drops_last_, state_.batches);
    progress_.begin(fmt::format("{}, epoch {} of {}", task_.name, state_.epoch, options_.epochs),
                    task_.data->size());
    if (state_.samples > 0) progress_.advance(state_.samples);
    model_.set_training(true);
    while (state_.samples < epoch_samples_) step(loader);
    model_.set_training(false);
    progress_.end();
  }

  /// One update by the next `accumulate` batches.
  void step(Loader& loader) {
    const double lr = options_.optimizer.learning_rate() *
                      schedule_factor(options_.schedule, result_.steps, total_steps_);
    const std::int64_t samples =
        std::min(task_.batch_size * options_.accumulate, epoch_samples_ - state_.samples);
    trainable_.reach(result_.steps, total_steps_);
    optimizer_.forget_gradients();
    double loss_sum = 0;
    std::int64_t batches = 0, done = 0;
    for (Batch batch; done < samples && loader.next(batch); ++batches, done += batch.size) {
      loss_sum += add_gradients(batch, state_.batches + batches, samples, lr);
    }
    if (task_.regularize) task_.regularize(result_.steps, total_steps_);
    zeros_.mask_gradients();
    if (options_.clip_grad_norm > 0) optimizer_.clip_gradients(options_.clip_grad_norm);
    optimizer_.step(lr);
    ++result_.steps;
    if (average_) average_->update(result_.steps);
    state_.batches += batches;
    state_.samples += done;
    state_.loss_sum += loss_sum;
    samples_here_ += done;
    progress_.advance(done, detail());
    save_if_due();
  }

  /// Gradients of the batch's part of a step of `samples`; returns its loss, summed over samples.
  double add_gradients(Batch& batch, std::int64_t number, std::int64_t samples, double lr) {
    const at::AutoGradMode with_gradients(true);
    batch.inputs = on_device(std::move(batch.inputs), device_);
    if (batch.target.defined()) batch.target = batch.target.to(device_);
    const auto draw = static_cast<std::uint64_t>(state_.epoch);
    const std::uint64_t seed = derive_seed(derive_seed(task_.seed, "epoch", draw), "batch",
                                           static_cast<std::uint64_t>(number));
    if (options_.mixing) mix(batch, *options_.mixing, derive_seed(seed, "mixing"));
    generator_.start_from(derive_seed(seed, "dropout"));
    batch.inputs = layout_.lay_out(batch.inputs);
    const at::Tensor loss = task_.loss(model_.forward(batch.inputs), batch);
    const double value = loss.item<double>();
    if (!std::isfinite(value)) fail(value, lr);
    const auto size = static_cast<double>(batch.size);
    loss.backward(at::full_like(loss.detach(), size / static_cast<double>(samples)));
    return value * size;
  }

  [[noreturn]] void fail(double loss, double lr) const {
    throw Error(
        ExitCode::kPass,
        fmt::format("{}: the loss became {} in epoch {}, step {} of {} (learning rate {:.3g})",
                    task_.name, loss, state_.epoch, result_.steps + 1, total_steps_, lr),
        "try a smaller optimizer.lr, a warm-up (schedule.warm_up 0.1) or clip_grad_norm 1");
  }

  double score() {
    const Score score = task_.score([this](const std::vector<at::Tensor>& inputs) {
      return model_.forward(layout_.lay_out(on_device(inputs, device_)));
    });
    higher_is_better_ = score.higher_is_better;
    result_.metric = score.metric;
    return score.value;
  }

  /// Books the epoch that ended; false if training should stop.
  bool judge() {
    const WeightAverage::InPlace averaged(average_ ? &*average_ : nullptr);
    if (options_.batch_norms == "reestimate") reestimate_batch_norms();
    const std::optional<double> now = task_.score ? std::optional(score()) : std::nullopt;
    result_.losses.push_back(state_.loss_sum / static_cast<double>(state_.samples));
    if (!now) return true;
    result_.scores.push_back(*now);
    if (higher_is_better_ ? *now > best_score_ : *now < best_score_) {
      best_score_ = *now;
      result_.best_epoch = state_.epoch;
      if (best_) best_->take();
    }
    const bool is_patient =
        options_.patience == 0 || state_.epoch - result_.best_epoch < options_.patience;
    if (!is_patient && state_.epoch < options_.epochs) result_.stopped_early = true;
    return is_patient;
  }

  void reestimate_batch_norms() {
    constexpr std::int64_t kSamples = 1024;
    auto order = Random(derive_seed(task_.seed, "batch norms")).permutation(task_.data->size());
    order.resize(static_cast<std::size_t>(std::min(kSamples, task_.data->size())));
    const auto some = std::make_shared<SubsetDataset>(task_.data, order);
    estimate_batch_norms(model_, some, task_.batch_size, progress_);
  }

  void finish() {
    const auto last = static_cast<std::int64_t>(result_.losses.size());
    if (!best_) result_.best_epoch = last;
    if (best_ && result_.best_epoch != last) {
      best_->restore();
    } else if (average_) {
      average_->settle();
    }
  }

  // Checkpoints.

  /// What tells this training from others.
  std::string identity() const {
    Json says = {task_.name, task_.seed, total_steps_, task_.batch_size};
    for (const ParameterGroup& group : task_.parameters) {
      says.push_back({group.names, group.lr_factor, group.start});
    }
    for (const at::Tensor& tensor : moving_) {
      const at::Tensor stored = tensor.detach().cpu().contiguous();
      says.push_back(sha256({static_cast<const char*>(stored.data_ptr()), stored.nbytes()}));
    }
    return sha256(says.dump());
  }

  void resume() {
    if (!task_.checkpoint.load && !task_.checkpoint.save) return;
    state_.training = identity();
    const auto bytes = task_.checkpoint.load ? task_.checkpoint.load() : std::nullopt;
    if (!bytes) return;
    auto stored = TrainingState::from_bytes(*bytes, state_.training);
    if (!stored) return;
    put_back(moving_, stored->weights);
    if (average_) put_back(average_->averages(), stored->averages);
    if (best_) put_back(best_->copies(), stored->best);
    optimizer_.remember(stored->memory);
    result_.restore(stored->result.at("so_far"));
    stored->result.at("best_score").get_to(best_score_);
    stored->result.at("higher_is_better").get_to(higher_is_better_);
    state_ = std::move(*stored);
    state_.drop_tensors();
  }

  void save_if_due() {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - saved_;
    if (task_.checkpoint.save && passed.count() >= task_.checkpoint.interval_s) save();
  }

  void save() {
    if (!task_.checkpoint.save) return;
    TrainingState state = state_;
    state.result = {{"so_far", result_.stored()},
                    {"best_score", best_score_},
                    {"higher_is_better", higher_is_better_}};
    state.weights = moving_;
    if (average_) state.averages = average_->averages();
    if (best_) state.best = best_->copies();
    state.memory = optimizer_.memory();
    task_.checkpoint.save(state.to_bytes());
    saved_ = std::chrono::steady_clock::now();
  }

  std::string detail() const {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    const double speed = static_cast<double>(samples_here_) / std::max(seconds, 1e-9);
    const auto left =
        static_cast<double>(epoch_samples_ * (options_.epochs - state_.epoch + 1) - state_.samples);
    const double loss = state_.loss_sum / static_cast<double>(state_.samples);
    const std::string last =
        result_.scores.empty() ? ""
                               : fmt::format("{} {:.4f}, ", result_.metric, result_.scores.back());
    return fmt::format("loss {:.4f}, {}{:.0f} samples/s, {} left in all", loss, last, speed,
                       human_duration(left / speed));
  }

  Model& model_;
  const TrainTask& task_;
  const TrainOptions& options_;
  Progress& progress_;
  SteadyHeap heap_;
  at::Device device_;
  ChannelsLast layout_;
  SeededGenerator generator_;
  Trainable trainable_;
  std::optional<FrozenBatchNorms> frozen_batch_norms_;
  Optimizer optimizer_;
  KeptZeros zeros_;
  std::vector<at::Tensor> moving_;
  std::optional<WeightAverage> average_;
  std::optional<Snapshot> best_;
  TrainingState state_;  ///< where it is; its tensors are filled in when it is saved
  TrainResult result_;
  double best_score_ = 0;
  bool higher_is_better_ = true;
  bool drops_last_ = false;
  std::int64_t epoch_samples_ = 0, total_steps_ = 0;
  std::int64_t samples_here_ = 0;  ///< since this process took it up
  std::chrono::steady_clock::time_point started_, saved_;
};

}  // namespace

TrainResult train(Model& model, const TrainTask& task, Progress& progress) {
  const OnDevice on_device(model, task.device);
  return Training(model, task, progress).run();
}

}  // namespace edgecompress
