#include "train/graph_edits.h"

#include <utility>

#include "model/graph_building.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

GraphEdits::GraphEdits(Model& model) : model_(model), start_(*model.edit()->nodes().begin()) {}

Value* GraphEdits::read(const std::string& attribute) {
  Value* value = insert_attribute(*model_.edit(), model_, attribute);
  std::vector<Node*> chain;
  for (Node* node = value->node(); node->kind() == c10::prim::GetAttr;
       node = node->input()->node()) {
    chain.push_back(node);
  }
  for (auto node = chain.rbegin(); node != chain.rend(); ++node) remember(*node);
  return value;
}

Value* GraphEdits::constant(Node* place, const c10::IValue& value) {
  const torch::jit::WithInsertPoint guard(place);
  Value* inserted = model_.edit()->insertConstant(value);
  remember(inserted->node());
  return inserted;
}

Value* GraphEdits::insert(Node* place, const AdapterExpression& expression,
                          const std::vector<Value*>& arguments) {
  const torch::jit::WithInsertPoint guard(place);
  std::vector<Node*> nodes;
  Value* value = expression.insert(*model_.edit(), arguments, nodes);
  for (Node* node : nodes) remember(node);
  return value;
}

Value* GraphEdits::insert(Node* place, const std::string& op,
                          const std::vector<Value*>& arguments) {
  const torch::jit::WithInsertPoint guard(place);
  Node* node = insert_op(*model_.edit(), op, arguments);
  remember(node);
  return node->output();
}

Node* GraphEdits::repeat(Node* place, Node* node) {
  Node* copy = model_.edit()->createClone(node, [](Value* value) { return value; });
  copy->insertBefore(place);
  remember(copy);
  return copy;
}

void GraphEdits::replace_input(Node* node, std::size_t index, Value* value) {
  Value* before = node->input(index);
  node->replaceInput(index, value);
  undo_.emplace_back([=] { node->replaceInput(index, before); });
}

void GraphEdits::replace_output(Value* value, Value* sum) {
  value->replaceAllUsesAfterNodeWith(sum->node(), sum);
  undo_.emplace_back([=] { sum->replaceAllUsesWith(value); });
}

void GraphEdits::undo() {
  model_.edit();
  for (auto edit = undo_.rbegin(); edit != undo_.rend(); ++edit) (*edit)();
  undo_.clear();
}

void GraphEdits::remember(Node* node) {
  undo_.emplace_back([node] { node->destroy(); });
}

}  // namespace edgecompress
