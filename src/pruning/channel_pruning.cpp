#include "pruning/channel_pruning.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "edgecompress/error.h"
#include "model/interpreter.h"
#include "model/torch_error.h"
#include "pruning/latency_search.h"
#include "pruning/measured_importance.h"

namespace edgecompress {
namespace {

std::vector<std::string> producing_layers(const ChannelGroup& group) {
  std::vector<std::string> layers;
  for (const ChannelMember& member : group.members) {
    if (member.role == ChannelAxis::Role::kProduces) layers.push_back(member.layer);
  }
  return layers;
}

bool any_accepted(const LayerFilter& filter, const std::vector<std::string>& layers) {
  return std::any_of(layers.begin(), layers.end(),
                     [&](const std::string& layer) { return filter.accepts(layer); });
}

/// Of one run, for which it isn't worth compiling the network.
std::vector<at::Tensor> outputs_of(const Model& model, const std::vector<at::Tensor>& inputs) {
  return flatten_outputs(Interpreter(model).run({inputs.begin(), inputs.end()}));
}

/// What pruning must keep: the outputs of the network in which nothing reads the removed channels.
/// How they differ by more than 1e-3 of the largest, or "".
std::string difference_from_masked(const Model& pruned, const Model& masked) {
  constexpr double kTolerance = 1e-3;
  const auto inputs = masked.example_inputs(0);
  const auto expected = outputs_of(masked, inputs);
  std::vector<at::Tensor> found;
  try {
    found = outputs_of(pruned, inputs);
  } catch (const std::exception& error) {
    return "the network does not run without them: " + torch_message(error);
  }
  if (found.size() != expected.size()) return "the network without them has other outputs";
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!expected[i].is_floating_point() || expected[i].numel() == 0) continue;
    const bool same_shape = found[i].sizes() == expected[i].sizes();
    const double largest = expected[i].abs().max().item<double>();
    const double difference =
        same_shape ? (found[i] - expected[i]).abs().max().item<double>() : largest;
    // Where the masked network overflows there is nothing to compare with; NaN is never near.
    if (same_shape && (!std::isfinite(largest) || difference <= kTolerance * largest)) continue;
    return fmt::format(
        "output {} of the network without them differs by {:.3g} (largest value {:.3g}) from that "
        "of the network that doesn't read them",
        i, difference, largest);
  }
  return "";
}

std::int64_t count_units(const UnitChoice& choice) {
  std::int64_t count = 0;
  for (const auto& of_group : choice) count += static_cast<std::int64_t>(of_group.size());
  return count;
}

/// Takes the units out of the model, whose groups these are. Says what is wrong with the result, or
/// "".
std::string remove_and_check(Model& model, const ChannelGroups& groups, const UnitChoice& removed) {
  try {
    Model masked = model.clone();
    mask_channels(masked, groups, removed);
    remove_channels(model, groups, removed);
    return difference_from_masked(model, masked);
  } catch (const std::exception& error) {
    return torch_message(error);
  }
}

}  // namespace

double ChannelTarget::after(double way) const {
  return kind == Kind::kRatio ? value * way : 1 - (1 - value) * way;
}

bool ChannelRemoval::is_empty() const {
  return std::all_of(removed.begin(), removed.end(),
                     [](const auto& of_group) { return of_group.empty(); });
}

ChannelPruner::ChannelPruner(ChannelPruning pruning, const DataSets* data, std::uint64_t seed,
                             std::function<double(const Model&)> latency_share, Progress& progress)
    : pruning_(std::move(pruning)),
      data_(data),
      seed_(seed),
      latency_share_(std::move(latency_share)),
      progress_(progress) {
  if (pruning_.target.kind != ChannelTarget::Kind::kLatency || latency_share_) return;
  throw Error(ExitCode::kPass, "the target is a share of the latency, which can't be measured here",
              "give the shapes of the model's inputs (model.inputs), or take `macs` as the target");
}

void ChannelPruner::begin(const Model& model) {
  const ChannelGroups groups = find_channel_groups(model, pruning_.unit);
  note_beginning(groups, ChannelCosts(model, groups));
}

ChannelRemoval ChannelPruner::prune(Model& model, double way) {
  const at::NoGradGuard no_grad;
  for (;;) {
    ChannelRemoval removal = plan(model, way);
    std::string fault;
    if (!removal.is_empty()) {
      removal.original = std::make_shared<const Model>(model.clone());
      fault = remove_and_check(model, removal.groups, removal.removed);
    }
    if (fault.empty()) {
      gone_ = pruning_.target.after(way);
      return removal;
    }
    model = removal.original->clone();
    find_faults(model, removal.removed, fault);
  }
}

ChannelRemoval ChannelPruner::plan(const Model& model, double way) {
  const at::NoGradGuard no_grad;
  ChannelRemoval removal;
  removal.groups = find_channel_groups(model, pruning_.unit);
  const ChannelCosts costs(model, removal.groups);
  if (units_at_first_.empty()) note_beginning(removal.groups, costs);

  UnitImportance importance = importance_of(model, removal.groups);
  std::vector<GroupLimits> limits;
  for (const ChannelGroup& group : removal.groups.groups) {
    removal.is_open.push_back(is_open(group));
    // Of a single unit nothing can go, nor can it be missed.
    const bool counts = removal.is_open.back() && group.units.size() > 1;
    limits.push_back(counts ? limits_of(group) : GroupLimits::closed());
  }
  const RemovalOrder order(removal.groups, importance.scores, pruning_.ranking, limits);
  choose(model, order, costs, way, removal);
  removal.is_known = std::move(importance.is_known);
  removal.before = costs.without(UnitChoice(removal.groups.groups.size()));
  removal.after = costs.without(removal.removed);
  removal.at_fault = at_fault_;
  return removal;
}

void ChannelPruner::find_faults(const Model& model, const UnitChoice& removed,
                                const std::string& fault) {
  const std::size_t known = at_fault_.size();
  for (std::size_t i = 0; i < removed.size(); ++i) {
    if (removed[i].empty()) continue;
    Model tried = model.clone();
    const ChannelGroups groups = find_channel_groups(tried, pruning_.unit);
    UnitChoice alone(removed.size());
    alone[i] = removed[i];
    const std::string own_fault = remove_and_check(tried, groups, alone);
    if (!own_fault.empty()) at_fault_.push_back({groups.groups[i].name, own_fault});
  }
  if (at_fault_.size() > known) return;
  throw Error(ExitCode::kPass, "the channels can't be removed together: " + fault,
              "this is a bug in prune_channels; find the layer with `exclude`, and report it");
}

void ChannelPruner::note_beginning(const ChannelGroups& groups, const ChannelCosts& costs) {
  at_first_ = costs.without(UnitChoice(groups.groups.size()));
  for (const ChannelGroup& group : groups.groups)
    units_at_first_[group.name] = static_cast<std::int64_t>(group.units.size());
}

UnitImportance ChannelPruner::importance_of(const Model& model, const ChannelGroups& groups) const {
  UnitImportance importance = [&] {
    switch (pruning_.criterion) {
      case ChannelCriterion::kL1:
        return weight_importance(model, groups, WeightCriterion::kL1);
      case ChannelCriterion::kL2:
        return weight_importance(model, groups, WeightCriterion::kL2);
      case ChannelCriterion::kGeometricMedian:
        return weight_importance(model, groups, WeightCriterion::kGeometricMedian);
      case ChannelCriterion::kBatchNormScale:
        return weight_importance(model, groups, WeightCriterion::kBatchNormScale);
      case ChannelCriterion::kActivationMean:
        return activation_importance(model, groups, ActivationCriterion::kMean, data_, progress_);
      case ChannelCriterion::kApoz:
        return activation_importance(model, groups, ActivationCriterion::kApoz, data_, progress_);
      case ChannelCriterion::kTaylor:
        return derivative_importance(model, groups, DerivativeCriterion::kTaylor, data_, seed_,
                                     progress_);
      case ChannelCriterion::kFisher:
        return derivative_importance(model, groups, DerivativeCriterion::kFisher, data_, seed_,
                                     progress_);
      case ChannelCriterion::kRandom:
        break;
    }
    return random_importance(groups, seed_);
  }();
  // Groups that hold nothing the criterion looks at are ranked by the norms of their weights.
  const auto& known = importance.is_known;
  if (std::find(known.begin(), known.end(), false) != known.end()) {
    const UnitImportance norms = weight_importance(model, groups, WeightCriterion::kL2);
    for (std::size_t i = 0; i < known.size(); ++i) {
      if (!known[i]) importance.scores[i] = norms.scores[i];
    }
  }
  return importance;
}

bool ChannelPruner::is_open(const ChannelGroup& group) const {
  const auto layers = producing_layers(group);
  return std::none_of(at_fault_.begin(), at_fault_.end(),
                      [&](const FixedLayer& layer) { return layer.layer == group.name; }) &&
         any_accepted(pruning_.included, layers) &&
         std::all_of(layers.begin(), layers.end(),
                     [&](const std::string& layer) { return pruning_.excluded.accepts(layer); });
}

GroupLimits ChannelPruner::limits_of(const ChannelGroup& group) const {
  const auto layers = producing_layers(group);
  const auto own =
      std::find_if(pruning_.layer_limits.begin(), pruning_.layer_limits.end(),
                   [&](const LayerLimits& limits) { return any_accepted(limits.layers, layers); });
  const SelectionLimits& limits =
      own == pruning_.layer_limits.end() ? pruning_.limits : own->limits;
  const auto at_first = units_at_first_.find(group.name);
  return limits.of_group(at_first == units_at_first_.end()
                             ? static_cast<std::int64_t>(group.units.size())
                             : at_first->second);
}

bool ChannelPruner::is_met(const ChannelCost& left, double way) const {
  const auto within = [&](std::int64_t cost, std::int64_t of) {
    return static_cast<double>(cost) <= pruning_.target.after(way) * static_cast<double>(of);
  };
  switch (pruning_.target.kind) {
    case ChannelTarget::Kind::kMacs:
      return within(left.macs, at_first_.macs);
    case ChannelTarget::Kind::kParameters:
      return within(left.parameters, at_first_.parameters);
    case ChannelTarget::Kind::kRatio:
    case ChannelTarget::Kind::kLatency:
      break;
  }
  return true;
}

/// The shortest beginning of the order that meets the target; all of it if none does.
void ChannelPruner::choose(const Model& model, const RemovalOrder& order, const ChannelCosts& costs,
                           double way, ChannelRemoval& removal) const {
  const double target = pruning_.target.after(way);
  if (pruning_.target.kind == ChannelTarget::Kind::kLatency)
    return choose_by_latency(model, order, costs, target, removal);
  if (pruning_.target.kind == ChannelTarget::Kind::kRatio) {
    const std::int64_t due = order.due_at((target - gone_) / (1 - gone_));
    removal.removed = order.first(due);
    removal.is_met = count_units(removal.removed) >= due;
    return;
  }
  std::int64_t too_few = -1, enough = order.units();
  while (enough - too_few > 1) {
    const std::int64_t middle = too_few + (enough - too_few) / 2;
    (is_met(costs.without(order.first(middle)), way) ? enough : too_few) = middle;
  }
  removal.removed = order.first(enough);
  removal.is_met = is_met(costs.without(removal.removed), way);
}

void ChannelPruner::choose_by_latency(const Model& model, const RemovalOrder& order,
                                      const ChannelCosts& costs, double target,
                                      ChannelRemoval& removal) const {
  // A group at fault shows in the smallest network: prune() finds which it is, and chooses again.
  removal.removed = order.first(order.units());
  if (removal.is_empty()) return;
  Model smallest = model.clone();
  const ChannelGroups groups = find_channel_groups(smallest, pruning_.unit);
  if (!remove_and_check(smallest, groups, removal.removed).empty()) return;
  const LatencySearch found = search_latency(order.units(), target, [&](std::int64_t count) {
    Model pruned = model.clone();
    remove_channels(pruned, find_channel_groups(pruned, pruning_.unit), order.first(count));
    return latency_share_(pruned);
  });
  removal.removed = order.first(found.count);
  removal.latency_share = found.share;
  removal.is_met = found.is_met || found.count < order.units();
  for (const LatencyMeasurement& measured : found.measurements) {
    removal.latencies.emplace_back(costs.without(order.first(measured.count)).macs, measured.share);
  }
}

}  // namespace edgecompress
