// Taking channels out of a model, and the model that only ignores them, which must do the same.
#include <ATen/ATen.h>

#include <algorithm>

#include "edgecompress/error.h"
#include "model/channel_groups.h"
#include "model/channel_sizes.h"

namespace edgecompress {
namespace {

using torch::jit::Node;
using torch::jit::Value;

std::unordered_set<Cell> cells_of(const ChannelGroups& groups, const UnitChoice& removed) {
  std::unordered_set<Cell> cells;
  for (std::size_t group = 0; group < groups.groups.size(); ++group) {
    const auto& units = groups.groups[group].units;
    if (removed.at(group).size() >= units.size()) {
      throw Error(ExitCode::kPass, "every channel of '" + groups.groups[group].name +
                                       "' would be removed; at least one must stay");
    }
    for (const std::int64_t unit : removed[group])
      cells.insert(units.at(static_cast<std::size_t>(unit)));
  }
  return cells;
}

/// Positions of the axis that stay, or nothing if all do.
std::optional<at::Tensor> kept_positions(const ChannelFlow& flow, const std::vector<Cell>& cells,
                                         const std::unordered_set<Cell>& removed) {
  std::vector<std::int64_t> kept;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (removed.count(flow.sets.find(cells[i])) == 0) kept.push_back(static_cast<std::int64_t>(i));
  }
  if (kept.size() == cells.size()) return std::nullopt;
  return at::tensor(kept, at::kLong);
}

/// Norms over channels, changed to take in only those that stay; the others come out as zero.
void narrow_norm(torch::jit::Graph& graph, Node* node, std::int64_t dim, const at::Tensor& kept) {
  const torch::jit::WithInsertPoint point(node);
  const auto op = [](const char* name) {
    return c10::Symbol::fromQualString(std::string("aten::") + name);
  };
  Value* positions = graph.insertConstant(kept);
  Value* input = node->input(0);
  const auto pick = [&](Value* value, std::int64_t along) {
    return graph.insert(op("index_select"), {value, along, positions});
  };
  const bool is_layer_norm = node->kind() == op("layer_norm");
  node->replaceInput(0, pick(input, dim));
  if (is_layer_norm) {
    node->replaceInput(1, graph.insertConstant(std::vector<std::int64_t>{kept.numel()}));
  }
  for (const std::size_t i : {2, 3}) {
    if (!node->input(i)->mustBeNone()) node->replaceInput(i, pick(node->input(i), 0));
  }
  const torch::jit::WithInsertPoint after(node->next());
  Value* zeros = graph.insert(op("zeros_like"), {input});
  Value* whole = graph.insert(op("index_copy"), {zeros, dim, positions, node->output()});
  node->output()->replaceAllUsesAfterNodeWith(whole->node(), whole);
}

void narrow_norms(Model& model, const ChannelGroups& groups,
                  const std::unordered_set<Cell>& removed) {
  const auto graph = model.edit();
  for (const RecordedStep& step : groups.run.steps) {
    const std::string op = step.node->kind().toQualString();
    const bool is_layer_norm = op == "aten::layer_norm";
    if (!is_layer_norm && !(op == "aten::group_norm" && step.inputs[1].toInt() == 1)) continue;
    const auto known = groups.flow.values.find(step.node->output());
    if (known == groups.flow.values.end()) continue;
    for (const std::int64_t dim : known->second.varying_dims()) {
      const std::int64_t last = static_cast<std::int64_t>(known->second.sizes.size()) - 1;
      if (is_layer_norm ? dim != last : dim != 1) continue;
      const auto kept = kept_positions(groups.flow, cells_along(known->second, dim), removed);
      if (kept) narrow_norm(*graph, const_cast<Node*>(step.node), dim, *kept);
    }
  }
}

}  // namespace

void remove_channels(Model& model, const ChannelGroups& groups, const UnitChoice& removed) {
  const auto cells = cells_of(groups, removed);
  for (const ChannelAxis& axis : groups.flow.axes) {
    const auto kept = kept_positions(groups.flow, axis.cells, cells);
    if (kept)
      model.set_tensor(axis.tensor, model.tensor(axis.tensor).index_select(axis.dim, *kept));
  }
  channels::rewrite_sizes(model, groups, cells);
}

void mask_channels(Model& model, const ChannelGroups& groups, const UnitChoice& removed) {
  const auto cells = cells_of(groups, removed);
  // Zero where they are made as well as where they are used: queries and keys meet each other only.
  for (const ChannelAxis& axis : groups.flow.axes) {
    const auto kept = kept_positions(groups.flow, axis.cells, cells);
    if (!kept) continue;
    const at::Tensor whole = model.tensor(axis.tensor).detach();
    at::Tensor masked = at::zeros_like(whole);
    masked.index_copy_(axis.dim, *kept, whole.index_select(axis.dim, *kept));
    model.set_tensor(axis.tensor, masked);
  }
  narrow_norms(model, groups, cells);
}

}  // namespace edgecompress
