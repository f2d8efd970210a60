#include "int8/int8_table.h"

#include <ATen/ATen.h>

#include "model/interpreter.h"
#include "model/layers.h"

namespace edgecompress {

at::Tensor make_int8_table(const torch::jit::Node& node, QuantizedRange input,
                           QuantizedRange output) {
  torch::jit::Graph graph;
  graph.addInput("self");
  torch::jit::Value* number = graph.addInput("number");
  torch::jit::Node* copy =
      graph.insertNode(graph.createClone(const_cast<torch::jit::Node*>(&node), [&](auto* value) {
        return value == node.input(0) ? number : graph.insertConstant(*constant_of(value));
      }));
  graph.registerOutput(copy->output());

  const at::NoGradGuard no_grad;
  const at::Tensor steps = at::arange(256, at::kFloat);
  const at::Tensor numbers = (steps - input.zero_point) * input.scale;
  const at::Tensor results =
      Interpreter(graph, c10::IValue()).run({numbers}).at(0).toTensor().to(at::kDouble);
  return ((results / output.scale).round() + output.zero_point).clamp(0, 255).to(at::kByte);
}

}  // namespace edgecompress
