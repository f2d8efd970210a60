#include "train/measured_importance.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "edgecompress/error.h"
#include "train/losses.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kTaylorSamples = 1024;

void check_has_samples(const std::shared_ptr<const Dataset>& data, const std::string& name) {
  if (data && data->size() > 0) return;
  throw Error(ExitCode::kData, "importance of channels: the " + name + " set is empty",
              "give it some samples, or use a criterion of weights (\"l2\")");
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

UnitImportance taylor_importance(const Model& model, const ChannelGroups& groups,
                                 const DataSets* data, std::uint64_t seed, Progress& progress) {
  const auto set = data ? data->train : nullptr;
  check_has_samples(set, "training");
  const at::AutoGradMode with_gradients(true);
  const Model differentiated = model.clone();
  const auto parameters = differentiated.named_parameters();
  const LossFunction loss = target_loss({});
  TaylorImportance importance(groups);
  const std::int64_t samples = std::min(set->size(), kTaylorSamples);
  progress.begin("gradients", samples);
  Loader loader(set, data->train_batch, derive_seed(seed, "taylor"));
  std::int64_t seen = 0;
  for (Batch batch; seen < samples && loader.next(batch); seen += batch.size) {
    for (auto [name, parameter] : parameters) {
      parameter.mutable_grad().reset();
      parameter.set_requires_grad(parameter.is_floating_point());
    }
    loss(differentiated.forward(batch.inputs), batch).backward();
    importance.observe(differentiated);
    progress.advance(batch.size);
  }
  progress.end();
  return importance.result();
}

}  // namespace edgecompress
