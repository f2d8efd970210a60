#include "train/adapter_expressions.h"

#include <fmt/format.h>

#include <unordered_map>

#include "model/interpreter.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

constexpr const char* kMethod = "adapt";

/// The rows of a weight of so many dimensions run along all of them but that of the outputs.
std::string dimensions_of_rows(const Adapter& adapter, std::int64_t dimensions) {
  std::string text;
  for (std::int64_t i = 0; i < dimensions; ++i) {
    if (i != (adapter.has_inputs_first() ? 1 : 0))
      text += (text.empty() ? "" : ", ") + std::to_string(i);
  }
  return "[" + text + "]";
}

// A row that pruning emptied has norm and magnitude 0, and stays 0.
constexpr const char* kSmallestNorm = "1e-12";

}  // namespace

AdapterExpression::AdapterExpression(const std::string& method) : module_("__torch__.Adapter") {
  module_.define(fmt::format("def {}{}", kMethod, method));
  graph_ = module_.get_method(kMethod).graph();
}

at::Tensor AdapterExpression::evaluate(const std::vector<c10::IValue>& arguments) const {
  return Interpreter(*graph_, module_._ivalue()).run(arguments).at(0).toTensor();
}

Value* AdapterExpression::insert(Graph& graph, const std::vector<Value*>& arguments,
                                 std::vector<Node*>& nodes) const {
  std::vector<Value*> inputs = {graph.inputs().at(0)};
  inputs.insert(inputs.end(), arguments.begin(), arguments.end());
  std::unordered_map<Value*, Value*> copies;
  Value* output = torch::jit::insertGraph(graph, *graph_, inputs, copies).at(0);
  for (Node* node : graph_->nodes()) nodes.push_back(copies.at(node->output())->node());
  return output;
}

AdapterExpression change_expression(const Adapter& adapter, std::int64_t dimensions,
                                    bool has_zeros) {
  std::string text = "(self, weight, a, b, scale: float";
  if (has_zeros) text += ", zeros";
  if (adapter.settings.dora) text += ", magnitude";
  text += "):\n  change = torch.matmul(torch.flatten(b, 1), torch.flatten(a, 1)) * scale\n";
  text += adapter.has_inputs_first()
              ? "  outputs_first = torch.transpose(weight, 0, 1)\n"
                "  change = torch.transpose(torch.reshape(change, outputs_first.size()), 0, 1)\n"
              : "  change = change.view_as(weight)\n";
  if (has_zeros) text += "  change = torch.masked_fill(change, zeros, 0)\n";
  if (adapter.settings.dora) {
    text += fmt::format(
        "  adapted = weight + change\n"
        "  norm = torch.detach(torch.norm(adapted, 2, {}, True))\n"
        "  gain = magnitude.view_as(norm) / torch.clamp_min(norm, {})\n"
        "  change = (adapted * gain - weight) * {}\n",
        dimensions_of_rows(adapter, dimensions), kSmallestNorm, adapter.share);
  }
  return AdapterExpression(text + "  return change\n");
}

AdapterExpression linear_expression() {
  return AdapterExpression(
      "(self, y, x, a, b, scale: float):\n"
      "  return y + torch.linear(torch.linear(x, a) * scale, b)\n");
}

AdapterExpression embedding_expression() {
  return AdapterExpression(
      "(self, y, indices, padding: int, a, b, scale: float):\n"
      "  rows = torch.embedding(torch.t(a), indices, padding, False, False)\n"
      "  return y + torch.linear(rows * scale, b)\n");
}

AdapterExpression dora_expression(bool has_bias) {
  return AdapterExpression(fmt::format(
      "(self, y, base, x, weight, a, b, scale: float, magnitude{}):\n"
      "  norm = torch.norm(torch.detach(weight + torch.matmul(b, a) * scale), 2, [1])\n"
      "  gain = magnitude / torch.clamp_min(norm, {})\n"
      "  product = {}\n"
      "  return y + product * (gain - 1) + torch.linear(torch.linear(x, a) * scale, b) * gain\n",
      has_bias ? ", bias" : "", kSmallestNorm, has_bias ? "base - bias" : "base"));
}

}  // namespace edgecompress
