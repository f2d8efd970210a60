// Channels through ops that only move data: the op itself is run on the numbers of the cells.
#include <ATen/ATen.h>

#include <algorithm>

#include "channels/channel_follower.h"
#include "model/layers.h"

namespace edgecompress::channels {
namespace {

/// The op run with other tensors in the place of its activations, of whatever strides.
c10::IValue run_with(const Node* node, std::vector<c10::IValue> inputs) {
  if (node->kind() == c10::aten::view) inputs[0] = inputs[0].toTensor().contiguous();
  torch::jit::Stack stack = std::move(inputs);
  node->getOperation()(stack);
  return stack.back();
}

std::vector<at::Tensor> tensors_in(const c10::IValue& value) {
  return value.isTensor() ? std::vector<at::Tensor>{value.toTensor()} : value.toTensorVector();
}

}  // namespace

const Follower::Rules& Follower::movement_rules() {
  static const Rules all = [] {
    Rules rules;
    add_rule(rules,
             "view reshape _reshape_alias permute transpose t swapaxes swapdims movedim "
             "moveaxis unsqueeze squeeze flatten unflatten slice select narrow expand repeat "
             "tile cat concat stack split split_with_sizes chunk unbind unsafe_chunk "
             "unsafe_split pixel_shuffle pixel_unshuffle channel_shuffle tensor_split "
             "broadcast_to view_as numpy_T unfold unsafe_split_with_sizes hstack vstack flip",
             &Follower::follow_movement);
    add_rule(rules, "slice_scatter", &Follower::follow_slice_scatter);
    add_rule(rules, "roll rot90", &Follower::follow_roll);
    add_rule(rules,
             "pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d "
             "replication_pad1d replication_pad2d replication_pad3d",
             &Follower::follow_pad);
    add_rule(rules, "index index_select gather", &Follower::follow_index);
    add_rule(rules, "glu", &Follower::follow_glu);
    return rules;
  }();
  return all;
}

at::Tensor Follower::elements_of(const Source& source) const {
  if (source.elements.defined()) return source.elements;
  const at::Tensor whole = model_.tensor(source.attribute);
  return at::arange(whole.numel(), at::kInt).view(whole.sizes());
}

void Follower::follow_movement(const RecordedStep& step) {
  const Node* node = step.node;
  std::vector<c10::IValue> inputs = step.inputs;
  const Source* only = source_of(node->input(0));
  const bool is_attribute = step.inputs[0].isTensor() && only != nullptr && only->is_attribute();
  if (is_attribute) {
    inputs[0] = elements_of(*only);
  } else if (inputs[0].isTensor()) {
    CellMap map = map_of(node->input(0));
    // Each position along the dimension that is taken apart becomes a tensor, so none may go alone.
    if (op_of(node) == "aten::unbind" || op_of(node) == "aten::select") {
      const std::int64_t dim = positive_dim(inputs[1].toInt(), map.sizes.size());
      map = level(map, dim);
      if (op_of(node) == "aten::unbind" && map.varies_along(dim)) map = unite_all(map);
      if (op_of(node) == "aten::select" && map.varies_along(dim)) {
        fix({{}, map.cells.select(dim, inputs[2].toInt())}, "aten::select takes it alone");
      }
    }
    inputs[0] = map.expanded();
  } else {
    c10::List<at::Tensor> list;
    for (const Value* element : node->input(0)->node()->inputs()) {
      list.push_back(map_of(element).expanded());
    }
    if (list.size() != step.inputs[0].toTensorVector().size()) {
      fix_inputs(step, op_of(node) + " takes a list that is made elsewhere");
      return set_uniform(step);
    }
    inputs[0] = std::move(list);
  }
  const Source attribute = is_attribute ? *only : Source();
  std::vector<Source> moved_sources;
  for (const at::Tensor& result : tensors_in(run_with(node, std::move(inputs)))) {
    Source source;
    if (is_attribute) {
      source.attribute = attribute.attribute;
      source.elements = result;
      source.map.sizes = result.sizes().vec();
    } else {
      source.map = fold(flow_.sets, result);
      // Pixels made of channels go with the channels beside them.
      if (op_of(node) == "aten::pixel_shuffle") source.map = settle(source.map, result.dim() - 3);
    }
    moved_sources.push_back(std::move(source));
  }
  if (step.outputs[0].isTensor()) {
    set(node->output(), moved_sources.at(0));
  } else {
    sources_[node->output()] = std::move(moved_sources);
  }
}

/// What takes the place of a slice goes with what it replaces.
void Follower::follow_slice_scatter(const RecordedStep& step) {
  const Node* node = step.node;
  if (step.inputs[5].toInt() != 1) return follow_unknown(step);
  const CellMap map = map_of(node->input(0));
  const auto replaced = map.expanded().slice(positive_dim(step.inputs[2].toInt(), map.sizes.size()),
                                             step.inputs[3].toOptional<std::int64_t>(),
                                             step.inputs[4].toOptional<std::int64_t>());
  merge(fold(flow_.sets, replaced), map_of(node->input(1)), op_of(node));
  const Source* source = source_of(node->input(0));
  if (source != nullptr && source->is_attribute()) return set(node->output(), *source);
  set_map(node->output(), {map.sizes, fold(flow_.sets, map.cells).cells});
}

/// A channel that changes its place among its like can't be taken out and keep the others' places.
void Follower::follow_roll(const RecordedStep& step) {
  const Source* source = source_of(step.node->input(0));
  const bool is_attribute = source != nullptr && source->is_attribute();
  if (!is_attribute) {
    const CellMap map = map_of(step.node->input(0));
    std::vector<std::int64_t> dims = step.inputs[2].toIntVector();
    if (dims.empty()) dims = map.varying_dims();  // rolled as if it were flat
    for (const std::int64_t dim : dims) {
      if (map.varies_along(positive_dim(dim, map.sizes.size()))) {
        fix(map, op_of(step.node) + " moves it");
      }
    }
  }
  follow_movement(step);
}

/// Zeros beside the channels are channels too, of no layer; zeros beside pixels change nothing.
void Follower::follow_pad(const RecordedStep& step) {
  const Node* node = step.node;
  const CellMap map = map_of(node->input(0));
  const auto sizes = sizes_of(step.outputs[0]);
  const auto pads = step.inputs[1].toIntVector();
  const bool is_constant =
      op_of(node) == "aten::constant_pad_nd" ||
      (op_of(node) == "aten::pad" && step.inputs[2].toStringRef() == "constant");
  at::Tensor cells = map.cells;
  for (std::size_t i = 0; i * 2 + 1 < pads.size(); ++i) {
    const auto dim = static_cast<std::int64_t>(sizes.size() - 1 - i);
    if (!map.varies_along(dim) || (pads[2 * i] == 0 && pads[2 * i + 1] == 0)) continue;
    if (!is_constant || pads[2 * i] < 0 || pads[2 * i + 1] < 0) {
      fix(map, op_of(node) + " copies it");
      return set_uniform(step);
    }
    const auto beside = [&](std::int64_t count) {
      std::vector<std::int64_t> shape(sizes.size(), 1);
      shape[static_cast<std::size_t>(dim)] = count;
      const Cell first = flow_.sets.make(count);
      std::vector<std::int64_t> full = cells.sizes().vec();
      full[static_cast<std::size_t>(dim)] = count;
      return at::arange(first, first + count, at::kInt).view(shape).expand(full);
    };
    cells = at::cat({beside(pads[2 * i]), cells, beside(pads[2 * i + 1])}, dim);
  }
  set_map(node->output(), {sizes, cells});
}

void Follower::follow_index(const RecordedStep& step) {
  const Node* node = step.node;
  const Source* source = source_of(node->input(0));
  const bool is_attribute = source != nullptr && source->is_attribute();
  const CellMap map = is_attribute ? source->map : map_of(node->input(0));
  std::vector<std::int64_t> dims;
  bool are_known = true;
  if (op_of(node) == "aten::index") {
    const auto indices = step.inputs[1].toList();
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const c10::IValue index = indices.get(i);
      if (index.isTensor() && index.toTensor().defined())
        dims.push_back(static_cast<std::int64_t>(i));
    }
    for (const Value* index : node->input(1)->node()->inputs()) {
      const bool is_none = index->mustBeNone();
      const Source* from = source_of(index);
      const bool is_static = is_none || index->node()->kind() == c10::prim::Constant ||
                             (from != nullptr && from->is_attribute());
      are_known = are_known && is_static;
    }
  } else {
    dims.push_back(positive_dim(step.inputs[1].toInt(), map.sizes.size()));
    are_known = false;
    if (op_of(node) == "aten::index_select" && !is_attribute)
      return follow_index_select(step, level(map, dims[0]), dims[0]);
  }
  const bool is_across = std::any_of(dims.begin(), dims.end(), [&](std::int64_t dim) {
    return !is_attribute && map.varies_along(dim);
  });
  const bool can_run = are_known && !is_across;
  if (can_run) {
    // Attributes that only number positions are read as they are.
    RecordedStep with_indices = step;
    c10::impl::GenericList indices(c10::OptionalType::create(c10::TensorType::get()));
    for (const Value* index : node->input(1)->node()->inputs()) {
      const Source* from = source_of(index);
      if (from != nullptr) {
        indices.push_back(model_.tensor(from->attribute)
                              .flatten()
                              .index_select(0, elements_of(*from).flatten().to(at::kLong))
                              .view(from->map.sizes));
      } else {
        indices.push_back(*torch::jit::toIValue(index));
      }
    }
    with_indices.inputs[1] = indices;
    return follow_movement(with_indices);
  }
  fix_inputs(step, op_of(node) + " picks from it");
  set_uniform(step);
}

void Follower::follow_index_select(const RecordedStep& step, const CellMap& map, std::int64_t dim) {
  const auto sizes = sizes_of(step.outputs[0]);
  if (!map.varies_along(dim)) return set_map(step.node->output(), {sizes, map.cells});
  const auto index = torch::jit::toIValue(step.node->input(2));
  if (!index) {
    fix(map, "aten::index_select picks from it");
    return set_uniform(step);
  }
  set_map(step.node->output(), {sizes, map.cells.index_select(dim, index->toTensor())});
}

/// One half gates the other.
void Follower::follow_glu(const RecordedStep& step) {
  const CellMap map = map_of(step.node->input(0));
  const std::int64_t dim = positive_dim(step.inputs[1].toInt(), map.sizes.size());
  const auto halves = map.expanded().chunk(2, dim);
  set_map(step.node->output(),
          merge(fold(flow_.sets, halves[0]), fold(flow_.sets, halves[1]), "aten::glu"));
}

}  // namespace edgecompress::channels
