#include "pruning/measured_importance.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>

#include "edgecompress/error.h"
#include "train/losses.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kLabelledSamples = 1024;

void check_has_samples(const std::shared_ptr<const Dataset>& data, const std::string& name) {
  if (data && data->size() > 0) return;
  throw Error(ExitCode::kData, "importance of channels: the " + name + " set is empty",
              "give it some samples, or use a criterion of weights (\"l2\")");
}

/// Shows up to kLabelledSamples of the training set, in an order of `seed`.
void for_labelled_batches(const DataSets* data, std::uint64_t seed, Progress& progress,
                          const std::function<void(const Batch&)>& show) {
  const auto set = data ? data->train : nullptr;
  check_has_samples(set, "training");
  const std::int64_t samples = std::min(set->size(), kLabelledSamples);
  progress.begin("gradients", samples);
  Loader loader(set, data->train_batch, seed);
  std::int64_t seen = 0;
  for (Batch batch; seen < samples && loader.next(batch); seen += batch.size) {
    show(batch);
    progress.advance(batch.size);
  }
  progress.end();
}

}  // namespace

UnitImportance activation_importance(const Model& model, const ChannelGroups& groups,
                                     ActivationCriterion criterion, const DataSets* data,
                                     Progress& progress) {
  const auto set = data ? data->calibration : nullptr;
  check_has_samples(set, "calibration");
  const at::NoGradGuard no_grad;
  ActivationImportance activations(model, groups, criterion);
  progress.begin("calibrate", set->size());
  Loader loader(set, data->calibration_batch);
  for (Batch batch; loader.next(batch);) {
    activations.observe(batch.inputs);
    progress.advance(batch.size);
  }
  progress.end();
  return activations.result();
}

UnitImportance derivative_importance(const Model& model, const ChannelGroups& groups,
                                     DerivativeCriterion criterion, const DataSets* data,
                                     std::uint64_t seed, Progress& progress) {
  const LossFunction loss = target_loss({});
  DerivativeImportance importance(model, groups, criterion);
  const char* name = criterion == DerivativeCriterion::kTaylor ? "taylor" : "fisher";
  for_labelled_batches(data, derive_seed(seed, name), progress, [&](const Batch& batch) {
    importance.observe(batch.inputs, batch.size, [&](const std::vector<at::Tensor>& outputs) {
      return loss(outputs, batch);
    });
  });
  return importance.result();
}

}  // namespace edgecompress
