#include "channels/derivative_importance.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <unordered_map>

#include "model/layers.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kNoDim = -1;

/// The dimension of each node's first input that grows with the batch; kNoDim where it is none, or
/// several, or not known.
std::unordered_map<const torch::jit::Node*, std::int64_t> batch_dims(const ChannelGroups& groups) {
  std::unordered_map<const torch::jit::Node*, std::int64_t> dims;
  if (!groups.other_run) return dims;
  std::unordered_map<const torch::jit::Node*, std::vector<std::int64_t>> others;
  const auto has_tensor = [](const RecordedStep& step) {
    return !step.inputs.empty() && step.inputs[0].isTensor() && step.inputs[0].toTensor().defined();
  };
  for (const RecordedStep& step : groups.other_run->steps) {
    if (has_tensor(step)) others[step.node] = step.inputs[0].toTensor().sizes().vec();
  }
  for (const RecordedStep& step : groups.run.steps) {
    const auto other = others.find(step.node);
    if (!has_tensor(step) || other == others.end()) continue;
    const auto sizes = step.inputs[0].toTensor().sizes();
    if (sizes.size() != other->second.size()) continue;
    std::int64_t dim = kNoDim, differing = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == other->second[i]) continue;
      dim = static_cast<std::int64_t>(i);
      ++differing;
    }
    dims[step.node] = differing == 1 ? dim : kNoDim;
  }
  return dims;
}

}  // namespace

/// What one layer reads, behind a node that gives it on as it is: the derivative there is of this
/// reader alone.
struct DerivativeImportance::Watched {
  const torch::jit::Node* node;
  std::int64_t dim, batch_dim;
  at::Tensor unit_of;  // int64, along dim: among the units of all groups
};

DerivativeImportance::DerivativeImportance(const Model& model, const ChannelGroups& groups,
                                           DerivativeCriterion criterion)
    : groups_(groups), criterion_(criterion), model_(model.clone()) {
  std::unordered_map<Cell, std::int64_t> unit_of;
  for (const ChannelGroup& group : groups.groups) {
    for (const Cell cell : group.units)
      unit_of.emplace(cell, static_cast<std::int64_t>(unit_of.size()));
  }
  const auto none = static_cast<std::int64_t>(unit_of.size());
  sums_ = at::zeros({none + 1}, at::kDouble);

  const std::vector<Layer> layers = find_layers(model), own = find_layers(model_);
  const auto dims = batch_dims(groups);
  const auto graph = model_.edit();
  for (const ConsumedChannels& consumed : consumed_channels(layers, groups)) {
    std::vector<std::int64_t> units;
    for (const Cell cell : consumed.cells) {
      const auto unit = unit_of.find(groups.flow.sets.find(cell));
      units.push_back(unit == unit_of.end() ? none : unit->second);
    }
    torch::jit::Node* reader = own[static_cast<std::size_t>(consumed.layer - layers.data())].node;
    const torch::jit::WithInsertPoint before(reader);
    torch::jit::Value* same = graph->insert(c10::aten::mul, {reader->input(0), 1});
    reader->replaceInput(0, same);
    const auto batch_dim = dims.find(consumed.layer->node);
    watched_.push_back({same->node(), consumed.dim,
                        batch_dim == dims.end() ? kNoDim : batch_dim->second,
                        at::tensor(units, at::kLong)});
  }
  for (auto [name, parameter] : model_.named_parameters()) parameter.set_requires_grad(false);
  interpreter_ = std::make_unique<Interpreter>(model_);
}

DerivativeImportance::~DerivativeImportance() = default;

/// [samples, positions along `dim`]: sums over all else.
at::Tensor DerivativeImportance::by_sample(const Watched& watched,
                                           const at::Tensor& products) const {
  const std::int64_t samples = derivatives_.size(0), positions = watched.unit_of.size(0);
  const bool keeps_samples = watched.batch_dim != kNoDim && watched.batch_dim != watched.dim &&
                             products.size(watched.batch_dim) % samples == 0;
  if (keeps_samples) {
    return products.movedim({watched.batch_dim, watched.dim}, {0, -1})
        .reshape({samples, -1, positions})
        .sum(1);
  }
  return (products.movedim(watched.dim, -1).reshape({-1, positions}).sum(0) /
          static_cast<double>(samples))
      .expand({samples, positions});
}

void DerivativeImportance::observe(
    const std::vector<at::Tensor>& inputs, std::int64_t samples,
    const std::function<at::Tensor(const std::vector<at::Tensor>&)>& loss) {
  const at::AutoGradMode with_gradients(true);
  derivatives_ = at::zeros({samples, sums_.size(0)}, at::kDouble);
  std::unordered_map<const torch::jit::Node*, const Watched*> watched_at;
  for (const Watched& watched : watched_) watched_at[watched.node] = &watched;
  const auto look = [&](const torch::jit::Node& node, c10::ArrayRef<c10::IValue> given,
                        c10::ArrayRef<c10::IValue> made) {
    const auto found = watched_at.find(&node);
    if (found == watched_at.end()) return;
    const at::Tensor activation = given[0].toTensor().detach();
    const at::Tensor read = made[0].toTensor();
    if (!read.is_floating_point()) return;
    // What nothing was watched before begins to be differentiated here.
    if (!read.requires_grad()) read.set_requires_grad(true);
    read.register_hook([this, activation, watched = found->second](const at::Tensor& gradient) {
      derivatives_.index_add_(1, watched->unit_of,
                              by_sample(*watched, activation * gradient).to(at::kDouble));
    });
  };
  const at::Tensor mean_loss =
      loss(flatten_outputs(interpreter_->run({inputs.begin(), inputs.end()}, look)));
  if (mean_loss.requires_grad()) mean_loss.backward();
  const at::NoGradGuard no_grad;
  const at::Tensor own = derivatives_ * samples;  // the loss is a mean
  sums_ += (criterion_ == DerivativeCriterion::kTaylor ? own.abs() : own.square() / 2).sum(0);
  samples_ += samples;
}

UnitImportance DerivativeImportance::result() const {
  const at::Tensor means = sums_ / static_cast<double>(std::max<std::int64_t>(1, samples_));
  at::Tensor is_watched = at::zeros({sums_.size(0)}, at::kBool);
  for (const Watched& watched : watched_) is_watched.index_fill_(0, watched.unit_of, true);
  UnitImportance importance;
  std::int64_t first = 0;
  for (const ChannelGroup& group : groups_.groups) {
    const auto units = static_cast<std::int64_t>(group.units.size());
    GroupScores scores(group);
    if (is_watched.narrow(0, first, units).any().item<bool>()) {
      const double* begin = means.data_ptr<double>() + first;
      scores.add({begin, begin + units}, "the derivative of the loss by '" + group.name + "'");
    }
    scores.store(importance);
    first += units;
  }
  return importance;
}

}  // namespace edgecompress
