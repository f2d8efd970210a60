// One spelling an op; the table is in canonical.h.
#include <ATen/core/Tensor.h>

#include <optional>
#include <set>

#include "canonical/canonical_steps.h"
#include "model/layers.h"

namespace edgecompress::canonical {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

/// The tensor behind a value that is an attribute or a constant.
std::optional<at::Tensor> tensor_behind(const Draft& draft, const Value* value) {
  const auto held = draft.held_by(value);
  if (!held || !held->isTensor()) return std::nullopt;
  return held->toTensor();
}

/// `op(inputs)` in the place of the node's first output.
void replace_node(Draft& draft, Node* node, const std::string& op,
                  const std::vector<Value*>& inputs) {
  Node* replacement = draft.graph->create(c10::Symbol::fromQualString(op), inputs);
  replacement->setSourceRange(node->sourceRange())->insertBefore(node);
  replacement->output()->setType(node->outputs()[0]->type());
  node->outputs()[0]->replaceAllUsesWith(replacement->output());
  node->destroy();
}

bool only_first_output_used(const Node* node) {
  for (std::size_t i = 1; i < node->outputs().size(); ++i) {
    if (node->outputs()[i]->hasUses()) return false;
  }
  return true;
}

Value* constant_before(Draft& draft, Node* node, const c10::IValue& value) {
  torch::jit::WithInsertPoint guard(node);
  return draft.graph->insertConstant(value);
}

// --- convolutions

/// Spatial dimensions: from the weight where it is known, else from the list of strides.
std::optional<std::size_t> spatial_rank(const Draft& draft, const Node* node) {
  std::size_t rank = 0;
  if (const auto weight = tensor_behind(draft, node->input(1))) {
    rank = static_cast<std::size_t>(weight->dim()) - 2;
  } else if (const auto stride = constant_of(node->input(3))) {
    rank = stride->toIntVector().size();
  }
  if (rank < 1 || rank > 3) return std::nullopt;
  return rank;
}

bool spell_convolution(Draft& draft, Node* node) {
  const auto rank = spatial_rank(draft, node);
  const auto is_transposed = constant_of(node->input(6));
  if (!rank || !is_transposed) return false;
  const auto in = [&](std::size_t i) { return node->input(i); };
  const std::string suffix = std::to_string(*rank) + "d";
  if (is_transposed->toBool()) {
    replace_node(draft, node, "aten::conv_transpose" + suffix,
                 {in(0), in(1), in(2), in(3), in(4), in(7), in(8), in(5)});
  } else {
    replace_node(draft, node, "aten::conv" + suffix,
                 {in(0), in(1), in(2), in(3), in(4), in(5), in(8)});
  }
  return true;
}

/// The padding that "valid" or "same" means, if it is as much on both sides.
std::optional<std::vector<std::int64_t>> numeric_padding(const Draft& draft, const Node* node) {
  const auto weight = tensor_behind(draft, node->input(1));
  const auto padding = constant_of(node->input(4));
  const auto dilation = constant_of(node->input(5));
  if (!weight || !padding || !padding->isString() || !dilation) return std::nullopt;
  const auto dilations = dilation->toIntVector();
  std::vector<std::int64_t> result;
  for (std::int64_t i = 0; i < weight->dim() - 2; ++i) {
    const auto step = dilations[dilations.size() == 1 ? 0 : static_cast<std::size_t>(i)];
    const std::int64_t total =
        padding->toStringRef() == "valid" ? 0 : step * (weight->size(i + 2) - 1);
    if (total % 2 != 0) return std::nullopt;
    result.push_back(total / 2);
  }
  return result;
}

bool spell_padding(Draft& draft, Node* node) {
  const auto rank = spatial_rank(draft, node);
  const auto padding = numeric_padding(draft, node);
  if (!rank || !padding) return false;
  std::vector<Value*> inputs(node->inputs().begin(), node->inputs().end());
  inputs[4] = constant_before(draft, node, *padding);
  replace_node(draft, node, "aten::conv" + std::to_string(*rank) + "d", inputs);
  return true;
}

// --- linear

/// w, if the value is w transposed and w a known matrix.
Value* untransposed_matrix(const Draft& draft, Value* value) {
  Node* node = value->node();
  const std::string op = op_of(node);
  if (op != "aten::t" && op != "aten::transpose" && op != "aten::numpy_T") return nullptr;
  const auto weight = tensor_behind(draft, node->input(0));
  if (!weight || weight->dim() != 2) return nullptr;
  if (op == "aten::transpose") {
    const auto first = constant_of(node->input(1));
    const auto second = constant_of(node->input(2));
    if (!first || !second || (first->toInt() - second->toInt()) % 2 == 0) return nullptr;
  }
  return node->input(0);
}

bool is_one(const Value* value) {
  const auto constant = constant_of(value);
  return constant && constant->isScalar() && constant->toScalar().equal(1);
}

bool is_bias_for(const Draft& draft, const Value* bias, const Value* weight) {
  const auto bias_tensor = tensor_behind(draft, bias);
  const auto weight_tensor = tensor_behind(draft, weight);
  return bias_tensor && weight_tensor && weight_tensor->dim() == 2 && bias_tensor->dim() == 1 &&
         bias_tensor->size(0) == weight_tensor->size(0);
}

bool spell_addmm(Draft& draft, Node* node) {
  Value* weight = untransposed_matrix(draft, node->input(2));
  if (!weight || !is_one(node->input(3)) || !is_one(node->input(4))) return false;
  if (!is_bias_for(draft, node->input(0), weight)) return false;
  replace_node(draft, node, "aten::linear", {node->input(1), weight, node->input(0)});
  return true;
}

bool spell_matmul(Draft& draft, Node* node) {
  Value* weight = untransposed_matrix(draft, node->input(1));
  if (!weight) return false;
  Value* none = constant_before(draft, node, c10::IValue());
  replace_node(draft, node, "aten::linear", {node->input(0), weight, none});
  return true;
}

/// linear(x, w, None) + bias
bool spell_added_bias(Draft& draft, Node* node) {
  if (node->inputs().size() != 3 || !is_one(node->input(2))) return false;
  for (const std::size_t side : {0, 1}) {
    Node* linear = node->input(side)->node();
    Value* bias = node->input(1 - side);
    if (op_of(linear) != "aten::linear" || linear->output()->uses().size() != 1) continue;
    const auto own_bias = constant_of(linear->input(2));
    if (!own_bias || !own_bias->isNone() || !is_bias_for(draft, bias, linear->input(1))) continue;
    replace_node(draft, node, "aten::linear", {linear->input(0), linear->input(1), bias});
    return true;
  }
  return false;
}

// --- norms and activations

bool spell_batch_norm(Draft& draft, Node* node) {
  static const std::set<std::string> spellings = {
      "aten::native_batch_norm", "aten::cudnn_batch_norm", "aten::_native_batch_norm_legit",
      "aten::_native_batch_norm_legit_no_training", "aten::_batch_norm_impl_index"};
  const std::string op = op_of(node);
  if (spellings.count(op) == 0 || !only_first_output_used(node)) return false;
  std::vector<Value*> inputs(node->inputs().begin(), node->inputs().end());
  if (op == "aten::_native_batch_norm_legit_no_training") {
    inputs.insert(inputs.begin() + 5, constant_before(draft, node, false));
  }
  if (inputs.size() < 8) return false;  // the overload without running statistics
  inputs.resize(8);
  inputs.push_back(constant_before(draft, node, true));
  replace_node(draft, node, "aten::batch_norm", inputs);
  return true;
}

bool spell_layer_norm(Draft& draft, Node* node) {
  if (!only_first_output_used(node)) return false;
  std::vector<Value*> inputs(node->inputs().begin(), node->inputs().end());
  inputs.push_back(constant_before(draft, node, true));
  replace_node(draft, node, "aten::layer_norm", inputs);
  return true;
}

bool spell_relu6(Draft& draft, Node* node) {
  Value* low = constant_before(draft, node, 0.0);
  Value* high = constant_before(draft, node, 6.0);
  replace_node(draft, node, "aten::hardtanh", {node->input(0), low, high});
  return true;
}

template <typename Rule>
bool apply_everywhere(Draft& draft, const Rule& rule) {
  bool changed = false;
  for (Node* node : all_nodes(draft.graph->block())) changed |= rule(node, op_of(node));
  if (changed) tidy(draft.graph);
  return changed;
}

}  // namespace

bool unify_convolutions(Draft& draft) {
  return apply_everywhere(draft, [&](Node* node, const std::string& op) {
    if (op == "aten::_convolution" || op == "aten::convolution") {
      return spell_convolution(draft, node);
    }
    const bool has_padding_mode = op == "aten::_convolution_mode" ||
                                  (op.rfind("aten::conv", 0) == 0 && node->inputs().size() == 7 &&
                                   node->input(4)->type()->kind() == c10::TypeKind::StringType);
    return has_padding_mode && spell_padding(draft, node);
  });
}

bool unify_linears(Draft& draft) {
  return apply_everywhere(draft, [&](Node* node, const std::string& op) {
    if (op == "aten::addmm") return spell_addmm(draft, node);
    if (op == "aten::matmul" || op == "aten::mm") return spell_matmul(draft, node);
    return op == "aten::add" && spell_added_bias(draft, node);
  });
}

bool unify_norms_and_activations(Draft& draft) {
  return apply_everywhere(draft, [&](Node* node, const std::string& op) {
    if (op == "aten::native_layer_norm") return spell_layer_norm(draft, node);
    if (op == "aten::relu6") return spell_relu6(draft, node);
    return spell_batch_norm(draft, node);
  });
}

}  // namespace edgecompress::canonical
