// Before: _native_multi_head_attention(x, x, x, width, heads, w, b, w_out, b_out)
// After:  linear(softmax(q k^T / sqrt(width / heads)) v, w_out, b_out)
//         with q, k, v = linear(x, w, b)
//
// LibTorch's fused self-attention, which tracing without gradients writes down: it can't be
// trained, and nobody sees its heads.
#include <torch/csrc/jit/ir/ir.h>

#include <cmath>
#include <optional>
#include <string>

#include "canonical/canonical_steps.h"
#include "model/layers.h"

namespace edgecompress::canonical {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

Value* insert_op(Graph& graph, const char* name, at::ArrayRef<torch::jit::NamedValue> inputs) {
  return graph.insert(c10::Symbol::fromQualString(std::string("aten::") + name), inputs);
}

Value* insert_list(Graph& graph, const std::vector<Value*>& numbers) {
  return graph.insertNode(graph.createList(c10::IntType::get(), numbers))->output();
}

/// The heads of a node that is self-attention without a mask, whose attention weights nobody reads.
std::optional<std::int64_t> heads_of_self_attention(const Node* node) {
  if (op_of(node) != "aten::_native_multi_head_attention") return std::nullopt;
  const auto heads = constant_of(node->input(4));
  const bool is_self = node->input(0) == node->input(1) && node->input(0) == node->input(2);
  if (!heads || !is_self || node->outputs()[1]->hasUses() || !node->input(9)->mustBeNone())
    return std::nullopt;
  return heads->toInt();
}

void spell_attention(Graph& graph, Node* node, std::int64_t heads, std::int64_t width) {
  const torch::jit::WithInsertPoint point(node);
  Value* x = node->input(0);
  Value* batch = insert_op(graph, "size", {x, 0});
  Value* tokens = insert_op(graph, "size", {x, 1});
  const auto number = [&](std::int64_t value) { return graph.insertConstant(value); };
  Value* together = insert_op(graph, "linear", {x, node->input(5), node->input(6)});
  Value* apart = insert_op(graph, "reshape",
                           {together, insert_list(graph, {batch, tokens, number(3), number(heads),
                                                          number(width / heads)})});
  const auto projection = [&](std::int64_t i) {  // [batch, heads, tokens, width / heads]
    return insert_op(graph, "transpose", {insert_op(graph, "select", {apart, 2, i}), 1, 2});
  };
  const double scale = 1 / std::sqrt(static_cast<double>(width / heads));
  Value* query = insert_op(graph, "mul", {projection(0), scale});
  Value* scores =
      insert_op(graph, "matmul", {query, insert_op(graph, "transpose", {projection(1), -2, -1})});
  Value* weights = insert_op(graph, "softmax", {scores, -1});
  Value* mixed =
      insert_op(graph, "transpose", {insert_op(graph, "matmul", {weights, projection(2)}), 1, 2});
  Value* joined =
      insert_op(graph, "reshape", {mixed, insert_list(graph, {batch, tokens, number(width)})});
  Value* out = insert_op(graph, "linear", {joined, node->input(7), node->input(8)});
  node->outputs()[0]->replaceAllUsesWith(out);
  node->destroy();
}

}  // namespace

bool unfuse_attention(Draft& draft) {
  bool changed = false;
  for (Node* node : all_nodes(draft.graph->block())) {
    const auto heads = heads_of_self_attention(node);
    const auto width = heads ? constant_of(node->input(3)) : std::nullopt;
    if (!width || width->toInt() % *heads != 0) continue;
    spell_attention(*draft.graph, node, *heads, width->toInt());
    changed = true;
  }
  if (changed) tidy(draft.graph);
  return changed;
}

}  // namespace edgecompress::canonical
