#include "model/graph_building.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

Node* insert_op(Graph& graph, const std::string& name, const std::vector<Value*>& inputs) {
  return graph.insertNode(graph.create(c10::Symbol::fromQualString(name), inputs, 1));
}

Value* insert_conversion(Graph& graph, Value* value, c10::ScalarType dtype) {
  Value* no = graph.insertConstant(false);
  return insert_op(graph, "aten::to",
                   {value, graph.insertConstant(static_cast<std::int64_t>(dtype)), no, no,
                    graph.insertConstant(c10::IValue())})
      ->output();
}

Node* place_behind(Value* value) {
  const bool is_parameter = value->node()->kind() == c10::prim::Param;
  return is_parameter ? *value->node()->owningBlock()->nodes().begin() : value->node()->next();
}

}  // namespace edgecompress
