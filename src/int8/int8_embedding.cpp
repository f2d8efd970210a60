#include "int8/int8_embedding.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <algorithm>
#include <map>

#include "edgecompress/error.h"
#include "int8/int8_nodes.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Value;

namespace {

bool is_embedding(const Layer& layer) { return op_of(layer.node) == "aten::embedding"; }

class EmbeddingRewriter {
 public:
  EmbeddingRewriter(Model& model, const LayerRefusal& refusal)
      : model_(model), refusal_(refusal), graph_(model.edit()), layers_(find_layers(model)) {}

  std::vector<Int8Layer> run() {
    std::vector<Int8Layer> result;
    for (const Layer& layer : layers_) {
      if (is_embedding(layer))
        result.push_back({layer.name, false, obstacle_of(layer), {}, layer.node});
    }
    for (const Layer& layer : layers_) {
      const auto state = std::find_if(result.begin(), result.end(), [&](const Int8Layer& found) {
        return found.node == layer.node && found.reason.empty();
      });
      if (state != result.end())
        *state = {layer.name, true, "stored in INT8, looked up as float", {}, replace(layer)};
    }
    torch::jit::EliminateDeadCode(graph_);
    model_.remove_unused_attributes();
    return result;
  }

 private:
  std::string obstacle_of(const Layer& layer) const {
    if (std::string reason = refusal_(layer); !reason.empty()) return reason;
    if (!layer.weight) return "its table is computed in the graph";
    if (model_.tensor(*layer.weight).scalar_type() != at::kFloat) return "its table is not float32";
    for (const Layer& other : layers_) {
      const auto& read = other.weights;
      if (!is_embedding(other) && std::find(read.begin(), read.end(), *layer.weight) != read.end())
        return "layer '" + other.name + "' reads its table too";
    }
    return "";
  }

  /// Returns what makes the looked up rows now.
  const torch::jit::Node* replace(const Layer& layer) {
    const auto& [values, scales] = stored(*layer.weight);
    const torch::jit::WithInsertPoint guard(layer.node);
    Int8Nodes nodes(*graph_, no_shapes_);
    const auto look_up = [&](const std::string& table) {
      std::vector<Value*> inputs = layer.node->inputs().vec();
      inputs[0] = insert_attribute(*graph_, model_, table);
      return nodes.insert("aten::embedding", inputs)->output();
    };
    Value* rows = nodes.convert(look_up(values), at::kFloat);
    torch::jit::Node* made = nodes.insert("aten::mul", {rows, look_up(scales)});
    layer.node->output()->replaceAllUsesWith(made->output());
    layer.node->destroy();
    return made;
  }

  /// Embeddings that share a table share its INT8 form: names of its values and its scales.
  const std::pair<std::string, std::string>& stored(const std::string& table) {
    const auto known = stored_.find(table);
    if (known != stored_.end()) return known->second;
    const QuantizedWeight weight =
        quantize_weight(model_.tensor(table), {/*per_channel=*/true, kFullWeightRange});
    const auto type = c10::TensorType::get();
    const at::Tensor scales = weight.scales.to(at::kFloat).unsqueeze(1);
    return stored_[table] = {model_.add_attribute(table + ".int8", type, weight.values),
                             model_.add_attribute(table + ".scales", type, scales)};
  }

  Model& model_;
  const LayerRefusal& refusal_;
  std::shared_ptr<torch::jit::Graph> graph_;
  std::vector<Layer> layers_;
  const ShapeMap no_shapes_;
  std::map<std::string, std::pair<std::string, std::string>> stored_;
};

}  // namespace

std::vector<Int8Layer> rewrite_int8_embeddings(Model& model, const LayerRefusal& refusal) {
  return EmbeddingRewriter(model, refusal).run();
}

}  // namespace edgecompress
