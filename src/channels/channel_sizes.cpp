#include "channels/channel_sizes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "channels/channel_follower.h"
#include "model/layers.h"

namespace edgecompress::channels {

using c10::IValue;
using Sizes = std::vector<std::int64_t>;

ShrunkRun::ShrunkRun(const ChannelFlow& flow, const RecordedRun& run,
                     const std::unordered_set<Cell>& removed)
    : flow_(flow), removed_(removed) {
  for (const RecordedStep& step : run.steps) {
    const auto remember = [&](const Value* value, const IValue& content) {
      if (content.isTensor()) {
        if (content.toTensor().defined()) sizes_before_[value] = content.toTensor().sizes().vec();
      } else if (content.isInt() || content.isIntList() || content.isDouble() || content.isBool()) {
        numbers_before_[value] = content;
      }
    };
    for (std::size_t i = 0; i < step.inputs.size(); ++i)
      remember(step.node->inputs()[i], step.inputs[i]);
    for (std::size_t i = 0; i < step.outputs.size(); ++i)
      remember(step.node->outputs()[i], step.outputs[i]);
  }
}

std::vector<bool> ShrunkRun::kept(const Value* value, std::int64_t dim) const {
  const Sizes& before = sizes_before_.at(value);
  std::vector<bool> stays(static_cast<std::size_t>(before[static_cast<std::size_t>(dim)]), true);
  if (const auto attribute = flow_.attributes.find(value); attribute != flow_.attributes.end()) {
    const auto line = attribute->second.find(dim);
    for (std::size_t i = 0; line != attribute->second.end() && i < stays.size(); ++i) {
      stays[i] = removed_.count(flow_.sets.find(line->second[i])) == 0;
    }
    return stays;
  }
  const auto known = flow_.values.find(value);
  if (known == flow_.values.end() || !known->second.varies_along(dim)) return stays;
  const auto cells = cells_along(known->second, dim);
  // A batch that was merged with the channels repeats their pattern.
  for (std::size_t i = 0; i < stays.size(); ++i) {
    stays[i] = removed_.count(flow_.sets.find(cells[i % cells.size()])) == 0;
  }
  return stays;
}

std::optional<Sizes> ShrunkRun::sizes(const Value* value) const {
  const auto before = sizes_before_.find(value);
  if (before == sizes_before_.end()) return std::nullopt;
  Sizes after = before->second;
  for (std::size_t dim = 0; dim < after.size(); ++dim) {
    const auto stays = kept(value, static_cast<std::int64_t>(dim));
    after[dim] = std::count(stays.begin(), stays.end(), true);
  }
  return after;
}

std::optional<std::int64_t> ShrunkRun::evaluate_int(const Value* value) const {
  const auto number = evaluate(value);
  if (!number || !number->isInt()) return std::nullopt;
  return number->toInt();
}

std::optional<IValue> ShrunkRun::evaluate(const Value* value) const {
  const auto known = numbers_.find(value);
  if (known != numbers_.end()) return known->second;
  auto number = compute(value);
  if (!number) {
    const auto before = numbers_before_.find(value);
    if (before != numbers_before_.end()) number = before->second;
  }
  return numbers_[value] = number;
}

std::optional<IValue> ShrunkRun::compute(const Value* value) const {
  const Node* node = value->node();
  if (const auto constant = constant_of(value)) return constant;
  const std::string op = op_of(node);
  if (op == "aten::size" || op == "aten::numel" || op == "aten::dim" || op == "aten::len") {
    const auto after = sizes(node->input(0));
    if (!after) return std::nullopt;
    if (op == "aten::dim") return IValue(static_cast<std::int64_t>(after->size()));
    if (op == "aten::numel") {
      std::int64_t count = 1;
      for (const std::int64_t size : *after) count *= size;
      return IValue(count);
    }
    if (op == "aten::len")
      return after->empty() ? std::nullopt : std::optional<IValue>((*after)[0]);
    if (node->inputs().size() == 1) return IValue(*after);
    const auto dim = evaluate_int(node->input(1));
    if (!dim) return std::nullopt;
    const auto index = static_cast<std::size_t>(positive_dim(*dim, after->size()));
    return index < after->size() ? std::optional<IValue>((*after)[index]) : std::nullopt;
  }
  return run_node(value);
}

std::optional<IValue> ShrunkRun::run_node(const Value* value) const {
  const Node* node = value->node();
  const auto kind = node->kind();
  const bool is_number = value->type()->kind() == c10::TypeKind::IntType ||
                         value->type()->kind() == c10::TypeKind::FloatType ||
                         value->type()->kind() == c10::TypeKind::BoolType ||
                         value->type()->kind() == c10::TypeKind::ListType;
  const auto before = sizes_before_.find(value);
  const bool is_scalar = before != sizes_before_.end() && before->second.empty();
  if ((!is_number && !is_scalar) || !node->blocks().empty() || kind == c10::prim::Param ||
      kind == c10::prim::GetAttr) {
    return std::nullopt;
  }
  torch::jit::Stack stack;
  for (const Value* input : node->inputs()) {
    const auto number = evaluate(input);
    if (!number) return std::nullopt;
    stack.push_back(*number);
  }
  if (kind == c10::prim::ListConstruct) {
    c10::List<std::int64_t> list;
    for (const IValue& element : stack) {
      if (!element.isInt()) return std::nullopt;
      list.push_back(element.toInt());
    }
    return IValue(list);
  }
  if (kind == c10::prim::ListUnpack) return stack[0].toListRef()[value->offset()];
  try {
    node->getOperation()(stack);
  } catch (const std::exception&) {
    return std::nullopt;
  }
  return stack.back();
}

namespace {

const std::unordered_set<Cell> kNothing;

class SizeRewriter {
 public:
  SizeRewriter(Model& model, const ChannelGroups& groups, const std::unordered_set<Cell>& removed)
      : model_(model),
        graph_(model.edit()),
        before_(groups.flow, groups.run, kNothing),
        run_(groups.flow, groups.run, removed) {
    if (groups.other_run) other_.emplace(groups.flow, *groups.other_run, removed);
  }

  void rewrite() {
    rewrite(graph_->block());
    // Only now, since what is known of the run is known by its values.
    for (const auto& [old, made] : replaced_) old->replaceAllUsesWith(made);
  }

 private:
  void rewrite(torch::jit::Block* block) {
    for (Node* node : block->nodes()) {
      for (auto* nested : node->blocks()) rewrite(nested);
      if (node->kind().is_aten()) rewrite(node);
    }
  }

  void rewrite(Node* node) {
    const std::string op = op_of(node);
    const auto is = [&](std::initializer_list<const char*> names) {
      return std::any_of(names.begin(), names.end(),
                         [&](const char* name) { return op == std::string("aten::") + name; });
    };
    if (is({"mul", "div", "add", "sub", "rsub", "pow"})) {
      keep_factors(node);
    } else if (is({"view", "reshape", "_reshape_alias", "expand", "broadcast_to", "new_zeros",
                   "new_ones", "new_full", "new_empty"})) {
      rewrite_list(node, 1, 0);
    } else if (is({"zeros", "ones", "full", "empty", "rand", "randn"})) {
      rewrite_list(node, 0, 0);
    } else if (is({"unflatten"})) {
      const auto dim = constant_of(node->input(1));
      const auto rank = run_.sizes(node->input(0));
      if (dim && rank)
        rewrite_list(node, 2, static_cast<std::size_t>(positive_dim(dim->toInt(), rank->size())));
    } else if (is({"scaled_dot_product_attention"})) {
      keep_attention_scale(node);
    } else if (is({"layer_norm"})) {
      rewrite_normalized_shape(node);
    } else if (is({"conv1d", "conv2d", "conv3d"})) {
      rewrite_groups(node, node->input(0));
    } else if (is({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})) {
      rewrite_groups(node, node->output());
    } else if (is({"group_norm"})) {
      rewrite_group_norm(node);
    } else if (is({"select"})) {
      rewrite_select(node);
    } else if (is({"index_select"})) {
      rewrite_index_select(node);
    } else if (is({"slice"})) {
      rewrite_slice(node, 1);
    } else if (is({"slice_scatter"})) {
      rewrite_slice(node, 2);
    } else if (is({"narrow"})) {
      rewrite_narrow(node);
    } else if (is({"pad", "constant_pad_nd"})) {
      rewrite_pad(node);
    } else if (is({"chunk", "split", "split_with_sizes", "unsafe_chunk", "unsafe_split",
                   "unsafe_split_with_sizes", "tensor_split"})) {
      rewrite_split(node);
    }
  }

  /// A number that is computed from a size but scales activations (1 / sqrt(head width)) was meant
  /// for the network as it was trained.
  void keep_factors(Node* node) {
    const auto sizes = before_.sizes(node->output());
    if (!sizes || sizes->empty()) return;
    for (std::size_t i = 0; i < node->inputs().size(); ++i) {
      const Value* factor = node->input(i);
      if (constant_of(factor) || factor->node()->kind() == c10::prim::GetAttr) continue;
      const auto sizes_of_factor = before_.sizes(factor);
      if (sizes_of_factor && !sizes_of_factor->empty()) continue;
      const auto then = before_.evaluate(factor), now = run_.evaluate(factor);
      if (!then || !now || is_same(*then, *now)) continue;
      const torch::jit::WithInsertPoint point(node);
      node->replaceInput(i, graph_->insertConstant(*then));
    }
  }

  /// The same, where the op takes it from the width that it is given.
  void keep_attention_scale(Node* node) {
    const auto* schema = node->maybeSchema();
    const auto index = schema ? schema->argumentIndexWithName("scale") : c10::nullopt;
    const auto then = before_.sizes(node->input(0)), now = run_.sizes(node->input(0));
    if (!index || !then || !now || then->back() == now->back()) return;
    if (!node->input(static_cast<std::size_t>(*index))->mustBeNone()) return;
    const torch::jit::WithInsertPoint point(node);
    node->replaceInput(static_cast<std::size_t>(*index),
                       graph_->insertConstant(1 / std::sqrt(static_cast<double>(then->back()))));
  }

  static bool is_same(const IValue& a, const IValue& b) {
    if (a.isTensor() && b.isTensor()) return at::equal(a.toTensor(), b.toTensor());
    return a.isScalar() && b.isScalar() && a.toScalar().toDouble() == b.toScalar().toDouble();
  }

  Value* constant(Node* before, std::int64_t number) {
    torch::jit::WithInsertPoint point(before);
    return graph_->insertConstant(number);
  }

  Value* list_of(Node* before, const std::vector<Value*>& elements) {
    auto* list = graph_->createList(c10::IntType::get(), elements);
    list->insertBefore(before);
    return list->output();
  }

  Value* list_of(Node* before, const Sizes& numbers) {
    std::vector<Value*> elements;
    for (const std::int64_t number : numbers) elements.push_back(constant(before, number));
    return list_of(before, elements);
  }

  /// Sizes that are asked for must be those of the output from its dimension `first` on.
  void rewrite_list(Node* node, std::size_t argument, std::size_t first) {
    const auto wanted = run_.sizes(node->output());
    const auto given = run_.evaluate(node->input(argument));
    if (!wanted || !given || !given->isIntList()) return;
    const Sizes now = given->toIntVector();
    const auto wanted_other = other_ ? other_->sizes(node->output()) : std::nullopt;
    const auto given_other = other_ ? other_->evaluate(node->input(argument)) : std::nullopt;
    const bool has_other = wanted_other && given_other && given_other->isIntList();
    const Sizes now_other = has_other ? given_other->toIntVector() : Sizes();
    bool is_open = std::count(now.begin(), now.end(), -1) > 0;
    std::vector<Value*> elements;
    bool has_changed = false;
    for (std::size_t i = 0; i < now.size(); ++i) {
      const std::int64_t want = (*wanted)[first + i];
      const bool is_right =
          now[i] == -1 ||
          (now[i] == want && (!has_other || now_other[i] == (*wanted_other)[first + i]));
      if (is_right) {
        elements.push_back(element_of(node, argument, i, now[i]));
        continue;
      }
      has_changed = true;
      const bool hangs_on_batch = has_other && (*wanted_other)[first + i] != want;
      if (!hangs_on_batch) {
        elements.push_back(constant(node, want));
      } else if (!is_open && op_of(node) != "aten::expand") {
        is_open = true;
        elements.push_back(constant(node, -1));
      } else {
        elements.push_back(scaled(node, element_of(node, argument, i, now[i]), want, now[i]));
      }
    }
    if (has_changed) node->replaceInput(argument, list_of(node, elements));
  }

  Value* element_of(Node* node, std::size_t argument, std::size_t i, std::int64_t now) {
    Node* list = node->input(argument)->node();
    if (list->kind() == c10::prim::ListConstruct) return list->inputs()[i];
    if (constant_of(node->input(argument))) return constant(node, now);
    torch::jit::WithInsertPoint point(node);
    return graph_->insert(c10::aten::__getitem__,
                          {node->input(argument), static_cast<std::int64_t>(i)});
  }

  Value* scaled(Node* node, Value* number, std::int64_t numerator, std::int64_t denominator) {
    torch::jit::WithInsertPoint point(node);
    Value* product = graph_->insert(c10::aten::mul, {number, numerator});
    return graph_->insert(c10::aten::floordiv, {product, denominator});
  }

  void rewrite_int(Node* node, std::size_t argument, std::int64_t wanted) {
    const auto now = run_.evaluate_int(node->input(argument));
    if (!now || *now == wanted) return;
    node->replaceInput(argument, constant(node, wanted));
  }

  void rewrite_normalized_shape(Node* node) {
    const auto sizes = run_.sizes(node->input(0));
    const auto shape = run_.evaluate(node->input(1));
    if (!sizes || !shape || !shape->isIntList()) return;
    const std::size_t count = shape->toIntVector().size();
    const Sizes wanted(sizes->end() - static_cast<std::ptrdiff_t>(count), sizes->end());
    if (wanted != shape->toIntVector()) node->replaceInput(1, list_of(node, wanted));
  }

  /// Each group has as many of the channels of `counted` as the weight has along dimension 1.
  void rewrite_groups(Node* node, const Value* counted) {
    const auto sizes = run_.sizes(counted);
    const std::string weight = attribute_path(node->input(1));
    const auto groups = run_.evaluate_int(node->input(6));
    if (!sizes || sizes->size() < 2 || weight.empty() || !groups || *groups == 1) return;
    rewrite_int(node, 6, (*sizes)[1] / model_.tensor(weight).size(1));
  }

  void rewrite_group_norm(Node* node) {
    const auto stays = run_.kept(node->input(0), 1);
    const auto groups = run_.evaluate_int(node->input(1));
    if (!groups || *groups == 1) return;
    const std::int64_t width = static_cast<std::int64_t>(stays.size()) / *groups;
    rewrite_int(node, 1, std::count(stays.begin(), stays.end(), true) / width);
  }

  static std::int64_t kept_before(const std::vector<bool>& stays, std::int64_t position) {
    return std::count(stays.begin(), stays.begin() + position, true);
  }

  /// The dimension that an argument names, and which positions of the first input stay along it.
  struct ShrunkDim {
    std::int64_t dim;
    std::vector<bool> stays;
  };

  /// Nothing where all stay.
  std::optional<ShrunkDim> shrunk_dim(const Node* node, std::size_t argument) const {
    const auto given = run_.evaluate_int(node->input(argument));
    const auto sizes = run_.sizes(node->input(0));
    if (!given || !sizes) return std::nullopt;
    const auto dim = positive_dim(*given, sizes->size());
    auto stays = run_.kept(node->input(0), dim);
    if (std::count(stays.begin(), stays.end(), false) == 0) return std::nullopt;
    return ShrunkDim{dim, std::move(stays)};
  }

  /// `first`: of the arguments dimension, start, end, step.
  void rewrite_slice(Node* node, std::size_t first) {
    const auto shrunk = shrunk_dim(node, first);
    if (!shrunk) return;
    const std::vector<bool>& stays = shrunk->stays;
    const auto count = static_cast<std::int64_t>(stays.size());
    const auto position = [&](const Value* value, std::int64_t otherwise) {
      std::int64_t at = before_.evaluate_int(value).value_or(otherwise);
      if (at < 0) at += count;
      return std::min(std::max<std::int64_t>(at, 0), count);
    };
    const std::int64_t start = position(node->input(first + 1), 0),
                       end = position(node->input(first + 2), count);
    const std::int64_t step = before_.evaluate_int(node->input(first + 3)).value_or(1);
    if (step > 1) {
      Sizes picked;
      for (std::int64_t i = start; i < end; i += step) picked.push_back(i);
      return pick(node, *shrunk, picked);
    }
    rewrite_int(node, first + 1, kept_before(stays, start));
    if (end < count) rewrite_int(node, first + 2, kept_before(stays, end));
  }

  /// Instead of the node: those of the positions that stay.
  void pick(Node* node, const ShrunkDim& shrunk, const Sizes& positions) {
    Sizes kept;
    for (const std::int64_t position : positions) {
      if (shrunk.stays[static_cast<std::size_t>(position)])
        kept.push_back(kept_before(shrunk.stays, position));
    }
    const torch::jit::WithInsertPoint point(node);
    Value* picked = graph_->insert(c10::Symbol::fromQualString("aten::index_select"),
                                   {node->input(0), shrunk.dim, at::tensor(kept, at::kLong)});
    replaced_.push_back({node->output(), picked});
  }

  void rewrite_index_select(Node* node) {
    const auto shrunk = shrunk_dim(node, 1);
    const auto index = torch::jit::toIValue(node->input(2));
    if (!shrunk || !index || !index->isTensor()) return;
    const at::Tensor positions = index->toTensor().to(at::kLong).contiguous();
    const auto* first = positions.data_ptr<std::int64_t>();
    pick(node, *shrunk, {first, first + positions.numel()});
  }

  void rewrite_select(Node* node) {
    const auto shrunk = shrunk_dim(node, 1);
    const auto position = before_.evaluate_int(node->input(2));
    if (!shrunk || !position) return;
    rewrite_int(node, 2, kept_before(shrunk->stays, positive_dim(*position, shrunk->stays.size())));
  }

  void rewrite_narrow(Node* node) {
    const auto dim = run_.evaluate_int(node->input(1)), start = run_.evaluate_int(node->input(2));
    const auto sizes = run_.sizes(node->input(0)), out = run_.sizes(node->output());
    if (!dim || !start || !sizes || !out) return;
    const auto along = positive_dim(*dim, sizes->size());
    rewrite_int(node, 2, kept_before(run_.kept(node->input(0), along), *start));
    rewrite_int(node, 3, (*out)[static_cast<std::size_t>(along)]);
  }

  void rewrite_pad(Node* node) {
    const auto given = run_.evaluate(node->input(1));
    const auto sizes = run_.sizes(node->input(0)), out = run_.sizes(node->output());
    if (!given || !given->isIntList() || !sizes || !out) return;
    const Sizes pads = given->toIntVector();
    Sizes wanted = pads;
    for (std::size_t i = 0; i * 2 + 1 < pads.size(); ++i) {
      const auto dim = static_cast<std::int64_t>(sizes->size() - 1 - i);
      const auto stays = run_.kept(node->output(), dim);
      if (std::count(stays.begin(), stays.end(), false) == 0) continue;
      wanted[2 * i] = kept_before(stays, pads[2 * i]);
      wanted[2 * i + 1] = std::count(stays.end() - pads[2 * i + 1], stays.end(), true);
    }
    if (wanted != pads) node->replaceInput(1, list_of(node, wanted));
  }

  /// Parts that are no longer equal are named by their sizes.
  void rewrite_split(Node* node) {
    const auto shrunk = shrunk_dim(node, 2);
    if (!shrunk) return;
    const std::vector<bool>& stays = shrunk->stays;
    const Sizes before = parts_before(node, static_cast<std::int64_t>(stays.size()));
    Sizes wanted;
    std::int64_t start = 0;
    for (const std::int64_t part : before) {
      wanted.push_back(kept_before(stays, start + part) - kept_before(stays, start));
      start += part;
    }
    const bool is_chunk = op_of(node).find("chunk") != std::string::npos;
    const bool are_equal = std::all_of(wanted.begin(), wanted.end(),
                                       [&](std::int64_t part) { return part == wanted[0]; });
    if (is_chunk && are_equal) return;
    torch::jit::WithInsertPoint point(node);
    Value* parts = graph_->insert(c10::Symbol::fromQualString("aten::split_with_sizes"),
                                  {node->input(0), list_of(node, wanted), node->input(2)});
    replaced_.push_back({node->output(), parts});
  }

  Sizes parts_before(const Node* node, std::int64_t total) const {
    if (const auto list = constant_of(node->input(1)); list && list->isIntList()) {
      return list->toIntVector();
    }
    const std::int64_t given = before_.evaluate_int(node->input(1)).value_or(total);
    const bool is_chunk = op_of(node).find("chunk") != std::string::npos;
    const std::int64_t part = is_chunk ? (total + given - 1) / given : given;
    Sizes parts;
    for (std::int64_t start = 0; start < total; start += part)
      parts.push_back(std::min(part, total - start));
    return parts;
  }

  Model& model_;
  std::shared_ptr<torch::jit::Graph> graph_;
  std::vector<std::pair<Value*, Value*>> replaced_;
  ShrunkRun before_, run_;
  std::optional<ShrunkRun> other_;
};

}  // namespace

void rewrite_sizes(Model& model, const ChannelGroups& groups,
                   const std::unordered_set<Cell>& removed) {
  SizeRewriter rewriter(model, groups, removed);
  rewriter.rewrite();
}

}  // namespace edgecompress::channels
