#include "pruning/channel_repair.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "pruning/repair_fits.h"
#include "train/held_out_calibration.h"
#include "train/output_error.h"
#include "train/paired_sweep.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMostRepairSamples = 512;
constexpr std::int64_t kMostInBatch = 32;

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
    PairedSweep sweep(before_, after_, fitted_, batch_size_, live_bytes_);
    progress_.begin("repair", static_cast<std::int64_t>(fits.size()));
    for (const auto& fit : fits) {
      progress_.advance();
      const bool is_seen = sweep.show(fit->before, fit->after, [&](const PairedLayer& layer) {
        fit->see(layer.input_before, layer.output_before, layer.input_after(), layer.share);
      });
      if (!is_seen) continue;
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
    return output_error(before_, after_, held_out_, batch_size_, progress_);
  }

  const Model& before_;
  const Model& after_;
  Progress& progress_;
  std::int64_t live_bytes_;
  std::shared_ptr<const Dataset> fitted_, held_out_;
  std::int64_t batch_size_ = 0;
  double error_ = 0;
};

using Fits = std::vector<std::unique_ptr<RepairFit>>;

/// The layers first, then the batch norms behind what they give.
ChannelRepair run_repair(Repair& repair, const Fits& layer_fits, const Fits& batch_norm_fits) {
  ChannelRepair result;
  result.error_before = repair.error();
  const auto layers = repair.apply(layer_fits);
  const auto batch_norms = repair.apply(batch_norm_fits);
  result.layers = layers.value_or(0);
  result.batch_norms = batch_norms.value_or(0);
  result.keeps_layers = layers.has_value();
  result.keeps_batch_norms = batch_norms.has_value();
  result.error_after = repair.error();
  return result;
}

}  // namespace

ChannelRepair repair_channels(Model& model, const Model& original, const KeptPositions& kept,
                              const DataSets& data, Progress& progress, std::int64_t live_bytes) {
  const c10::InferenceMode inference;
  Repair repair(original, model, data, progress, live_bytes);
  std::vector<std::string> notes;
  const Fits layers = layer_fits(original, model, kept, notes);
  ChannelRepair result = run_repair(repair, layers, batch_norm_fits(original, model, kept));
  result.notes = std::move(notes);
  return result;
}

ChannelRepair repair_stand_ins(Model& model, const Model& original,
                               const std::vector<StandIn>& stand_ins, const DataSets& data,
                               Progress& progress, std::int64_t live_bytes) {
  const c10::InferenceMode inference;
  Repair repair(original, model, data, progress, live_bytes);
  std::vector<std::string> notes;
  const Fits layers = stand_in_fits(original, model, stand_ins, notes);
  ChannelRepair result =
      run_repair(repair, layers, batch_norm_fits(original, model, KeptPositions()));
  result.notes = std::move(notes);
  return result;
}

}  // namespace edgecompress
