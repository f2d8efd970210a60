#include "model/static_values.h"

#include <algorithm>
#include <set>
#include <string>

#include "model/layers.h"

namespace edgecompress::canonical {

using torch::jit::Node;
using torch::jit::Value;

namespace {

constexpr Dependence kOnData{true, false};

Dependence operator|(Dependence a, Dependence b) {
  return {a.on_data || b.on_data, a.on_shape || b.on_shape};
}

/// Ops that look at a tensor without looking at its numbers.
bool reads_metadata(const Node* node) {
  static const std::set<std::string> ops = {
      "aten::size",       "aten::dim",          "aten::len",           "aten::numel",
      "aten::stride",     "aten::is_complex",   "aten::__is__",        "aten::is_floating_point",
      "aten::__isnot__",  "aten::ndimension",   "aten::is_contiguous", "aten::is_signed",
      "prim::dtype",      "prim::device",       "prim::layout",        "prim::is_cuda",
      "prim::is_sparse",  "prim::is_quantized", "prim::is_mkldnn",     "prim::requires_grad",
      "prim::isinstance", "prim::is_nested",    "aten::is_cuda",       "aten::element_size",
      "aten::get_device", "aten::result_type"};
  return ops.count(op_of(node)) > 0;
}

/// Ops whose output's shape hangs on the numbers in their inputs.
bool has_data_shaped_output(const Node* node) {
  static const std::set<std::string> ops = {
      "aten::nonzero",  "aten::masked_select",      "aten::unique_dim", "aten::_unique2",
      "aten::_unique",  "aten::unique_consecutive", "aten::argwhere",   "aten::repeat_interleave",
      "aten::bincount", "aten::nonzero_numpy",      "aten::histogram"};
  const std::string op = op_of(node);
  return ops.count(op) > 0 || (op == "aten::where" && node->inputs().size() == 1);
}

bool may_hold_tensor(const c10::TypePtr& type) {
  if (type->isSubtypeOf(*c10::TensorType::get())) return true;
  const auto contained = type->containedTypes();
  return std::any_of(contained.begin(), contained.end(),
                     [](const c10::TypePtr& inner) { return may_hold_tensor(inner); });
}

bool may_hold_tensor(const Value* value) { return may_hold_tensor(value->type()); }

/// A list or dictionary that is written to after it is made: its node tells only half.
bool is_written_collection(const Value* value) {
  return !value->type()->isSubtypeOf(*c10::TensorType::get()) && is_written(value);
}

bool is_transparent(const Node* node) {
  return node->kind().is_aten() || node->kind().is_prim() ||
         node->kind().ns() == c10::Symbol::fromQualString("namespaces::quantized");
}

}  // namespace

Dependence StaticValues::of(const Value* value, bool is_metadata) {
  auto& known = known_[is_metadata ? 1 : 0];
  const auto found = known.find(value);
  if (found != known.end()) return found->second;
  const Dependence dependence = compute(value, is_metadata);
  known.emplace(value, dependence);
  return dependence;
}

Dependence StaticValues::compute(const Value* value, bool is_metadata) {
  const Node* node = value->node();
  const bool is_tensor = may_hold_tensor(value);
  switch (node->kind()) {
    case c10::prim::Constant:
      return {};
    case c10::prim::Param:
      // A block's own inputs are loop counters and carried values: not known from one look.
      if (node->owningBlock() != value->owningGraph()->block()) return kOnData;
      return is_tensor && is_metadata ? Dependence{false, true} : kOnData;
    case c10::prim::GetAttr:
      return is_tensor && is_metadata ? Dependence{} : kOnData;
    case c10::prim::If:
      return of_condition(value, is_metadata);
    default:
      break;
  }
  if (!node->blocks().empty() || !is_transparent(node) || is_written_collection(value))
    return kOnData;
  if (reads_metadata(node)) return of_inputs(node, /*is_metadata=*/true);
  if (is_tensor && is_metadata) {
    if (has_data_shaped_output(node) || data_shaped_.count(node) > 0) return kOnData;
    return of_inputs(node, /*is_metadata=*/true);
  }
  if (node->isNondeterministic()) return kOnData;
  return of_inputs(node, /*is_metadata=*/false);
}

Dependence StaticValues::of_inputs(const Node* node, bool is_metadata) {
  Dependence dependence;
  for (const Value* input : node->inputs()) {
    // A factor or an epsilon that is computed shapes nothing.
    const bool is_scale = input->type()->kind() == c10::TypeKind::FloatType;
    if (is_metadata && is_scale) continue;
    dependence = dependence | of(input, is_metadata && may_hold_tensor(input));
    if (dependence.on_data) break;
  }
  return dependence;
}

Dependence StaticValues::of_condition(const Value* value, bool is_metadata) {
  const Node* node = value->node();
  Dependence dependence = of_value(node->input(0));
  for (const auto* block : node->blocks()) {
    dependence = dependence | of(block->outputs()[value->offset()], is_metadata);
  }
  return dependence;
}

}  // namespace edgecompress::canonical
