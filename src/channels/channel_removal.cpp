// Taking channels out of a model, and the model that only ignores them, which must do the same.
#include <ATen/ATen.h>

#include <algorithm>

#include "channels/channel_follower.h"
#include "channels/channel_groups.h"
#include "channels/channel_sizes.h"
#include "edgecompress/error.h"
#include "model/counterparts.h"
#include "model/layers.h"

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

/// Positions of the axis that go.
at::Tensor removed_positions(const ChannelFlow& flow, const std::vector<Cell>& cells,
                             const std::unordered_set<Cell>& removed) {
  std::vector<std::int64_t> gone;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (removed.count(flow.sets.find(cells[i])) > 0) gone.push_back(static_cast<std::int64_t>(i));
  }
  return at::tensor(gone, at::kLong);
}

/// Norms over channels, changed to take in only those that stay; the others come out as zero.
/// `normalized`: how many of the dimensions a layer norm takes in.
void narrow_norm(torch::jit::Graph& graph, Node* node, const std::vector<std::int64_t>& sizes,
                 std::int64_t normalized, std::int64_t dim, const at::Tensor& kept) {
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
  std::int64_t along = 0;
  if (is_layer_norm) {
    along = dim - (static_cast<std::int64_t>(sizes.size()) - normalized);
    std::vector<std::int64_t> shape(sizes.end() - normalized, sizes.end());
    shape[static_cast<std::size_t>(along)] = kept.numel();
    node->replaceInput(1, graph.insertConstant(shape));
  }
  for (const std::size_t i : {2, 3}) {
    if (!node->input(i)->mustBeNone()) node->replaceInput(i, pick(node->input(i), along));
  }
  const torch::jit::WithInsertPoint after(node->next());
  Value* zeros = graph.insert(op("zeros_like"), {input});
  Value* whole = graph.insert(op("index_copy"), {zeros, dim, positions, node->output()});
  node->output()->replaceAllUsesAfterNodeWith(whole->node(), whole);
}

void narrow_norms(torch::jit::Graph& graph, const Counterparts& copies, const ChannelGroups& groups,
                  const std::unordered_set<Cell>& removed) {
  for (const RecordedStep& step : groups.run.steps) {
    const std::string op = step.node->kind().toQualString();
    const bool is_layer_norm = op == "aten::layer_norm";
    if (!is_layer_norm && !(op == "aten::group_norm" && step.inputs[1].toInt() == 1)) continue;
    const auto known = groups.flow.values.find(step.node->output());
    if (known == groups.flow.values.end()) continue;
    for (const std::int64_t dim : known->second.varying_dims()) {
      const std::int64_t normalized =
          is_layer_norm ? static_cast<std::int64_t>(step.inputs[1].toIntVector().size()) : 0;
      const std::int64_t first = static_cast<std::int64_t>(known->second.sizes.size()) - normalized;
      if (is_layer_norm ? dim < first : dim != 1) continue;
      const auto kept = kept_positions(groups.flow, cells_along(known->second, dim), removed);
      if (!kept) continue;
      narrow_norm(graph, copies.of(step.node), known->second.sizes, normalized, dim, *kept);
    }
  }
}

/// The letter or place of what a product sums over: (operand, its dimension).
std::vector<std::pair<const Value*, std::int64_t>> summed_dims(const Node* node) {
  const std::string op = node->kind().toQualString();
  if (op == "aten::einsum") {
    const auto& operands = node->input(1)->node()->inputs();
    const auto equation = constant_of(node->input(0));
    const auto letters = equation ? channels::parse_einsum(equation->toStringRef()) : std::nullopt;
    if (!letters || operands.size() != 2) return {};
    std::vector<std::pair<const Value*, std::int64_t>> summed;
    for (std::size_t dim = 0; dim < letters->left.size(); ++dim) {
      if (letters->out.find(letters->left[dim]) == std::string::npos)
        summed.push_back({operands[0], static_cast<std::int64_t>(dim)});
    }
    return summed;
  }
  const bool has_bias = op == "aten::addmm" || op == "aten::baddbmm";
  const bool is_product = has_bias || op == "aten::matmul" || op == "aten::mm" ||
                          op == "aten::bmm" || op == "aten::scaled_dot_product_attention";
  if (!is_product) return {};
  return {{node->input(has_bias ? 1 : 0), -1}};
}

/// Where two activations meet, no weight reads the channels that can be set to zero: the one of
/// them is.
void mask_products(torch::jit::Graph& graph, const Counterparts& copies,
                   const ChannelGroups& groups, const std::unordered_set<Cell>& removed) {
  for (const RecordedStep& step : groups.run.steps) {
    for (const auto& [operand, dim_given] : summed_dims(step.node)) {
      const auto known = groups.flow.values.find(operand);
      if (known == groups.flow.values.end()) continue;
      const auto rank = static_cast<std::int64_t>(known->second.sizes.size());
      const std::int64_t dim = dim_given < 0 ? dim_given + rank : dim_given;
      if (!known->second.varies_along(dim)) continue;
      const auto cells = cells_along(known->second, dim);
      const auto kept = kept_positions(groups.flow, cells, removed);
      if (!kept) continue;
      std::vector<std::int64_t> shape(static_cast<std::size_t>(rank), 1);
      shape[static_cast<std::size_t>(dim)] = static_cast<std::int64_t>(cells.size());
      at::Tensor mask = at::zeros({shape[static_cast<std::size_t>(dim)]}, at::kBool);
      mask.index_fill_(0, *kept, true);
      const bool is_listed = step.node->kind() == c10::Symbol::fromQualString("aten::einsum");
      const Node* original = is_listed ? step.node->input(1)->node() : step.node;
      const auto inputs = original->inputs();
      const auto place = std::find(inputs.begin(), inputs.end(), operand) - inputs.begin();
      Node* reader = copies.of(original);
      Value* whole = reader->input(static_cast<std::size_t>(place));
      const torch::jit::WithInsertPoint point(reader);
      reader->replaceInputWith(
          whole, graph.insert(c10::aten::mul, {whole, graph.insertConstant(mask.view(shape))}));
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
  for (const ChannelAxis& axis : groups.flow.axes) {
    if (axis.role != ChannelAxis::Role::kConsumes && !axis.is_consumed_too) continue;
    const at::Tensor gone = removed_positions(groups.flow, axis.cells, cells);
    if (gone.numel() > 0) model.tensor(axis.tensor).detach().index_fill_(axis.dim, gone, 0);
  }
  if (groups.run.steps.empty()) return;
  const auto graph = model.edit();
  const Counterparts copies(*groups.run.steps[0].node->owningGraph(), *graph);
  mask_products(*graph, copies, groups, cells);
  narrow_norms(*graph, copies, groups, cells);
}

}  // namespace edgecompress
