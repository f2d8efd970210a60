#include "train/channel_repair.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "model/interpreter.h"
#include "train/held_out_calibration.h"
#include "train/repair_fits.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMostRepairSamples = 512;
constexpr std::int64_t kMostInBatch = 32;

/// One batch on its way through both networks.
struct PairedRun {
  PausedRun before, after;

  std::int64_t live_bytes() const { return before.live_bytes() + after.live_bytes(); }
};

/// Batches that go through both networks, stopping at the same nodes.
class Sweep {
 public:
  Sweep(const Model& before, const Model& after, std::shared_ptr<const Dataset> data,
        std::int64_t batch_size, std::int64_t live_bytes)
      : before_(before),
        after_(after),
        data_(std::move(data)),
        batch_size_(batch_size),
        live_bytes_(live_bytes) {
    runs_.resize(static_cast<std::size_t>((data_->size() + batch_size - 1) / batch_size));
  }

  /// Shows the fit its node on as many batches as memory allows; false if the node can't be
  /// stopped at.
  bool show(RepairFit& fit) {
    if (!is_top_level(fit.before) || !is_top_level(fit.after) || !reach(0, fit)) return false;
    const std::int64_t each = std::max<std::int64_t>(runs_[0]->live_bytes(), 1);
    const auto fitting = static_cast<std::size_t>(std::max<std::int64_t>(live_bytes_ / each, 1));
    // What has started may stay a while above the bound, or it would start again and again.
    for (std::size_t i = 2 * fitting; i < runs_.size(); ++i) runs_[i].reset();
    std::size_t count = std::min(fitting, runs_.size());
    while (count < runs_.size() && runs_[count]) ++count;
    for (std::size_t i = 0; i < count; ++i) {
      if (!reach(i, fit)) return false;
      const at::Tensor input_after = runs_[i]->after.inputs()[0].toTensor();
      const at::Tensor input_before = runs_[i]->before.inputs()[0].toTensor();
      const at::Tensor output_before = runs_[i]->before.step()[0].toTensor();
      fit.see(input_before, output_before, input_after, 1 / static_cast<double>(count));
    }
    return true;
  }

 private:
  static bool is_top_level(const torch::jit::Node* node) {
    return node->owningBlock() == node->owningGraph()->block();
  }
  /// Brings batch `i` to the fit's node in both networks.
  bool reach(std::size_t i, const RepairFit& fit) {
    auto& run = runs_[i];
    if (!run) {
      std::vector<std::int64_t> samples;
      const auto first = static_cast<std::int64_t>(i) * batch_size_;
      for (std::int64_t s = first; s < std::min(first + batch_size_, data_->size()); ++s)
        samples.push_back(s);
      const Batch batch = data_->read(samples, /*seed=*/0);
      const std::vector<c10::IValue> inputs(batch.inputs.begin(), batch.inputs.end());
      run.emplace(PairedRun{PausedRun(before_, inputs), PausedRun(after_, inputs)});
    }
    return run->before.advance_to(fit.before) && run->after.advance_to(fit.after);
  }

  Interpreter before_, after_;
  std::shared_ptr<const Dataset> data_;
  std::int64_t batch_size_, live_bytes_;
  std::vector<std::optional<PairedRun>> runs_;
};

/// The network under repair, and what it is compared with.
class Repair {
 public:
  Repair(const Model& before, const Model& after, const DataSets& data, Progress& progress,
         std::int64_t live_bytes)
      : before_(before), after_(after), progress_(progress), live_bytes_(live_bytes) {
    const HeldOutCalibration parts = hold_out_calibration(data, kMostRepairSamples);
    fitted_ = parts.fitted;
    held_out_ = parts.held_out;
    batch_size_ = std::min(data.calibration_batch, kMostInBatch);
    error_ = measure();
  }

  double error() const { return error_; }

  /// Applies the fits in order; all are taken back if the outputs are no nearer afterwards.
  /// Returns how many were applied, or nothing if they were taken back.
  std::optional<std::int64_t> apply(const std::vector<std::unique_ptr<RepairFit>>& fits) {
    if (fits.empty()) return 0;
    std::vector<std::pair<at::Tensor, at::Tensor>> saved;
    std::int64_t applied = 0;
    Sweep sweep(before_, after_, fitted_, batch_size_, live_bytes_);
    progress_.begin("repair", static_cast<std::int64_t>(fits.size()));
    for (const auto& fit : fits) {
      progress_.advance();
      if (!sweep.show(*fit)) continue;
      for (const at::Tensor& tensor : fit->tensors) saved.emplace_back(tensor, tensor.clone());
      applied += fit->apply();
    }
    progress_.end();
    if (applied == 0) return 0;
    const double error = measure();
    if (!(error < error_)) {
      for (const auto& [tensor, values] : saved) tensor.copy_(values);
      return std::nullopt;
    }
    error_ = error;
    return applied;
  }

 private:
  double measure() const {
    double wrong = 0, all = 0;
    Loader loader(held_out_, batch_size_);
    for (Batch batch; loader.next(batch);) {
      const auto expected = before_.forward(batch.inputs), found = after_.forward(batch.inputs);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (!expected[i].is_floating_point()) continue;
        const at::Tensor y = expected[i].to(at::kDouble);
        wrong += (found[i].to(at::kDouble) - y).square().sum().item<double>();
        all += y.square().sum().item<double>();
      }
    }
    return all > 0 ? wrong / all : wrong;
  }

  const Model& before_;
  const Model& after_;
  Progress& progress_;
  std::int64_t live_bytes_;
  std::shared_ptr<const Dataset> fitted_, held_out_;
  std::int64_t batch_size_ = 0;
  double error_ = 0;
};

}  // namespace

ChannelRepair repair_channels(Model& model, const Model& original, const KeptPositions& kept,
                              const DataSets& data, Progress& progress, std::int64_t live_bytes) {
  const c10::InferenceMode inference;
  Repair repair(original, model, data, progress, live_bytes);
  ChannelRepair result;
  result.error_before = repair.error();
  const auto layers = repair.apply(layer_fits(original, model, kept, result.notes));
  const auto batch_norms = repair.apply(batch_norm_fits(original, model, kept));
  result.layers = layers.value_or(0);
  result.batch_norms = batch_norms.value_or(0);
  result.keeps_layers = layers.has_value();
  result.keeps_batch_norms = batch_norms.has_value();
  result.error_after = repair.error();
  return result;
}

}  // namespace edgecompress
