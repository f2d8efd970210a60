#include "channels/channel_importance.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "edgecompress/error.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "util/random.h"

namespace edgecompress {
namespace {

using Role = ChannelAxis::Role;

std::vector<double> doubles_of(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

/// One row for each unit: all that its positions hold.
at::Tensor rows_of_units(const at::Tensor& tensor, const ChannelMember& member) {
  std::vector<std::int64_t> positions;
  for (const auto& of_unit : member.positions)
    positions.insert(positions.end(), of_unit.begin(), of_unit.end());
  return tensor.index_select(member.dim, at::tensor(positions, at::kLong))
      .movedim(member.dim, 0)
      .reshape({static_cast<std::int64_t>(member.positions.size()), -1});
}

/// For each unit the sum of its distances to the others.
std::vector<double> distances_to_others(const at::Tensor& tensor, const ChannelMember& member) {
  const at::Tensor rows = rows_of_units(tensor, member);
  return doubles_of(at::cdist(rows, rows).sum(1));
}

// Sums stand side by side, so that the compiler may take several at once.
template <class Columns, class Measure>
void add_to_columns(Columns& columns, const float* row, Measure measure) {
  for (double& column : columns) column += measure(*row++);
}

template <class Measure>
double sum_of_row(const float* row, std::int64_t size, Measure measure) {
  std::array<double, 8> columns{};
  const auto step = static_cast<std::int64_t>(columns.size());
  std::int64_t i = 0;
  for (; i + step <= size; i += step) add_to_columns(columns, row + i, measure);
  for (; i < size; ++i) columns[0] += measure(row[i]);
  return std::accumulate(columns.begin(), columns.end(), 0.0);
}

/// Along `dim`: sums of `measure` of all that each position holds.
template <class Measure>
std::vector<double> sums_along(const at::Tensor& tensor, std::int64_t dim, Measure measure) {
  const at::Tensor values = tensor.to(at::kFloat).contiguous();
  const auto position = static_cast<std::size_t>(dim);
  const auto sizes = values.sizes();
  const std::int64_t outer = c10::multiply_integers(sizes.slice(0, position));
  const std::int64_t inner = c10::multiply_integers(sizes.slice(position + 1));
  const float* value = values.data_ptr<float>();
  std::vector<double> sums(static_cast<std::size_t>(sizes[position]), 0.0);
  if (outer == 1) {
    for (double& sum : sums) {
      sum = sum_of_row(value, inner, measure);
      value += inner;
    }
    return sums;
  }
  std::vector<double> columns(sums.size() * static_cast<std::size_t>(inner), 0.0);
  for (std::int64_t i = 0; i < outer; ++i) {
    add_to_columns(columns, value, measure);
    value += columns.size();
  }
  for (std::size_t i = 0; i < columns.size(); ++i)
    sums[i / static_cast<std::size_t>(inner)] += columns[i];
  return sums;
}

/// For each unit the sum of `measure` of all that its positions hold.
template <class Measure>
std::vector<double> sums_of_units(const at::Tensor& tensor, const ChannelMember& member,
                                  Measure measure) {
  const auto of_positions = sums_along(tensor, member.dim, measure);
  std::vector<double> sums;
  for (const auto& positions : member.positions) {
    double sum = 0;
    for (const std::int64_t position : positions)
      sum += of_positions[static_cast<std::size_t>(position)];
    sums.push_back(sum);
  }
  return sums;
}

std::vector<double> score_units(const at::Tensor& tensor, const ChannelMember& member,
                                WeightCriterion criterion) {
  if (criterion == WeightCriterion::kGeometricMedian) return distances_to_others(tensor, member);
  if (criterion != WeightCriterion::kL2)
    return sums_of_units(tensor, member, [](double value) { return std::abs(value); });
  auto scores = sums_of_units(tensor, member, [](double value) { return value * value; });
  for (double& score : scores) score = std::sqrt(score);
  return scores;
}

std::set<std::string> batch_norm_scales(const Model& model) {
  std::set<std::string> names;
  for (const Layer& layer : find_layers(model)) {
    if (layer.kind == LayerKind::kBatchNorm && layer.weight) names.insert(*layer.weight);
  }
  return names;
}

}  // namespace

void GroupScores::add(const std::vector<double>& of_units, const std::string& source) {
  double mean = 0;
  for (const double score : of_units) mean += score / static_cast<double>(of_units.size());
  if (!std::isfinite(mean)) {
    throw Error(ExitCode::kPass,
                "importance of channels: " + source + " holds values that are not finite",
                "the weights of the model or the data are damaged; nothing can be ranked by them");
  }
  ++members_;
  // A member that is zero for every unit tells none from another.
  for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += mean > 0 ? of_units[i] / mean : 1;
}

void GroupScores::store(UnitImportance& importance) const {
  std::vector<double> scores = sums_;
  for (double& score : scores) score = members_ > 0 ? score / members_ : 1;
  importance.scores.push_back(std::move(scores));
  importance.is_known.push_back(members_ > 0);
}

std::vector<ConsumedChannels> consumed_channels(const std::vector<Layer>& layers,
                                                const ChannelGroups& groups) {
  std::set<std::string> consumers;
  for (const ChannelAxis& axis : groups.flow.axes) {
    if (axis.role == Role::kConsumes) consumers.insert(axis.tensor);
  }
  std::vector<ConsumedChannels> consumed;
  for (const Layer& layer : layers) {
    const bool consumes =
        std::any_of(layer.weights.begin(), layer.weights.end(),
                    [&](const std::string& weight) { return consumers.count(weight) > 0; });
    if (!consumes) continue;
    const auto map = groups.flow.values.find(layer.node->input(0));
    if (map == groups.flow.values.end()) continue;
    const auto dims = map->second.varying_dims();
    if (dims.size() == 1) consumed.push_back({&layer, dims[0], cells_along(map->second, dims[0])});
  }
  return consumed;
}

UnitImportance weight_importance(const Model& model, const ChannelGroups& groups,
                                 WeightCriterion criterion) {
  const at::NoGradGuard no_grad;
  const std::set<std::string> scales = batch_norm_scales(model);
  const auto counts = [&](const ChannelMember& member) {
    switch (criterion) {
      case WeightCriterion::kGeometricMedian:
        return member.role == Role::kProduces;
      case WeightCriterion::kBatchNormScale:
        return scales.count(member.tensor) > 0;
      case WeightCriterion::kL1:
      case WeightCriterion::kL2:
        break;
    }
    return member.role != Role::kFollows;
  };
  UnitImportance importance;
  for (const ChannelGroup& group : groups.groups) {
    GroupScores scores(group);
    for (const ChannelMember& member : group.members) {
      if (!counts(member)) continue;
      const at::Tensor tensor = model.tensor(member.tensor).detach().to(at::kFloat);
      scores.add(score_units(tensor, member, criterion), "'" + member.tensor + "'");
    }
    scores.store(importance);
  }
  return importance;
}

UnitImportance random_importance(const ChannelGroups& groups, std::uint64_t seed) {
  UnitImportance importance;
  Random random(derive_seed(seed, "channel importance"));
  for (const ChannelGroup& group : groups.groups) {
    std::vector<double> scores(group.units.size());
    for (double& score : scores) score = random.uniform();
    importance.scores.push_back(std::move(scores));
    importance.is_known.push_back(true);
  }
  return importance;
}

/// An activation that layers consume channels of.
struct ActivationImportance::Watched {
  std::string layer;               // the first that reads it
  const torch::jit::Node* reader;  // whose first input it is
  std::int64_t dim;
  std::vector<Cell> cells;  // along dim
  at::Tensor sums;          // float64, along dim
};

ActivationImportance::ActivationImportance(const Model& model, const ChannelGroups& groups,
                                           ActivationCriterion criterion)
    : model_(model), groups_(groups), criterion_(criterion) {
  std::set<const torch::jit::Value*> seen;
  const std::vector<Layer> layers = find_layers(model);
  for (const ConsumedChannels& consumed : consumed_channels(layers, groups)) {
    const torch::jit::Node* reader = consumed.layer->node;
    if (!seen.insert(reader->input(0)).second) continue;
    const auto& sizes = groups.flow.values.at(reader->input(0)).sizes;
    watched_.push_back({consumed.layer->name, reader, consumed.dim, consumed.cells,
                        at::zeros({sizes[static_cast<std::size_t>(consumed.dim)]}, at::kDouble)});
  }
}

ActivationImportance::~ActivationImportance() = default;

void ActivationImportance::observe(const std::vector<at::Tensor>& inputs) {
  std::unordered_map<const torch::jit::Node*, Watched*> by_reader;
  for (Watched& watched : watched_) by_reader[watched.reader] = &watched;
  const auto look = [&](const torch::jit::Node& node, c10::ArrayRef<c10::IValue> given,
                        c10::ArrayRef<c10::IValue>) {
    const auto found = by_reader.find(&node);
    if (found == by_reader.end()) return;
    Watched& watched = *found->second;
    const at::Tensor& activation = given[0].toTensor();
    at::Tensor values = activation.abs().to(at::kDouble);
    // NaN and infinities stay, to be found in the sums.
    if (criterion_ == ActivationCriterion::kApoz)
      values = at::where(values.isfinite(), values.ne(0).to(at::kDouble), values);
    const auto channels = watched.sums.size(0);
    // A batch that was merged with the channels repeats their pattern.
    watched.sums.add_(values.movedim(watched.dim, -1).reshape({-1, channels}).sum(0));
  };
  Interpreter(model_).run({inputs.begin(), inputs.end()}, look);
}

UnitImportance ActivationImportance::result() const {
  UnitImportance importance;
  for (const ChannelGroup& group : groups_.groups) {
    std::unordered_map<Cell, std::size_t> unit_of;
    for (std::size_t i = 0; i < group.units.size(); ++i) unit_of[group.units[i]] = i;
    GroupScores scores(group);
    for (const Watched& watched : watched_) {
      const std::vector<double> of_positions = doubles_of(watched.sums);
      std::vector<double> of_units(group.units.size(), 0.0);
      bool is_any = false;
      for (std::size_t i = 0; i < watched.cells.size(); ++i) {
        const auto unit = unit_of.find(groups_.flow.sets.find(watched.cells[i]));
        if (unit == unit_of.end()) continue;
        of_units[unit->second] += of_positions[i];
        is_any = true;
      }
      if (is_any) scores.add(of_units, "what '" + watched.layer + "' reads");
    }
    scores.store(importance);
  }
  return importance;
}

}  // namespace edgecompress
