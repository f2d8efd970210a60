#include "int8/int8_islands.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

/// Tensors and lists of them.
bool holds_tensors(const Value* value) {
  const auto list = value->type()->cast<c10::ListType>();
  const auto& type = list ? list->getElementType() : value->type();
  return type->kind() == c10::TypeKind::TensorType;
}

class IslandFinder {
 public:
  IslandFinder(const Model& model, const Int8Plan& plan) {
    for (const Layer& layer : find_layers(model)) layers_.emplace(layer.node, layer.name);
    for (const Int8Op& op : plan.ops) take(op);
    follow(model.graph().block());
  }

  std::vector<FloatIslandOp> run() {
    std::vector<FloatIslandOp> islands;
    for (auto found = candidates_.rbegin(); found != candidates_.rend(); ++found) {
      const auto& [node, after] = *found;
      const auto outputs = node->outputs();
      const bool is_needed = std::any_of(outputs.begin(), outputs.end(), [&](const Value* output) {
        return needed_.count(output) > 0;
      });
      if (!is_needed) continue;
      for (const Value* input : node->inputs()) {
        if (holds_tensors(input) && !int8_.count(input)) needed_.insert(input);
      }
      if (node->kind() != c10::prim::ListConstruct) islands.push_back({op_of(node), after});
    }
    std::reverse(islands.begin(), islands.end());
    return islands;
  }

 private:
  void take(const Int8Op& op) {
    planned_.insert(op.node);
    planned_.insert(op.activation);
    if (op.form == Int8Form::kCat) planned_.insert(op.node->input(0)->node());
    const auto outputs = (op.activation ? op.activation : op.node)->outputs();
    int8_.insert(outputs.begin(), outputs.end());
    for (const Value* operand : op.operands()) {
      if (!int8_.count(operand)) needed_.insert(operand);
    }
  }

  /// Float nodes that hang on INT8 values.
  void follow(const torch::jit::Block* block) {
    for (const Node* node : block->nodes()) {
      for (const torch::jit::Block* nested : node->blocks()) follow(nested);
      const auto layer = layers_.find(node);
      if (!planned_.count(node)) {
        const auto inputs = node->inputs();
        const bool hangs = std::any_of(inputs.begin(), inputs.end(), [&](const Value* input) {
          return holds_tensors(input) && (int8_.count(input) || derived_.count(input));
        });
        if (hangs) {
          candidates_.emplace_back(node, last_layer_);
          derived_.insert(node->outputs().begin(), node->outputs().end());
        }
      }
      if (layer != layers_.end()) last_layer_ = layer->second;
    }
  }

  std::unordered_map<const Node*, std::string> layers_;
  std::unordered_set<const Node*> planned_;
  std::unordered_set<const Value*> int8_, derived_, needed_;
  std::vector<std::pair<const Node*, std::string>> candidates_;
  std::string last_layer_;
};

}  // namespace

std::vector<FloatIslandOp> find_float_islands(const Model& model, const Int8Plan& plan) {
  return IslandFinder(model, plan).run();
}

}  // namespace edgecompress
