#include "int8/int8_dynamic.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <unordered_map>

#include "edgecompress/error.h"
#include "int8/fake_quantization.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

bool is_float_tensor(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().defined() &&
         value.toTensor().scalar_type() == at::kFloat;
}

class DynamicRewriter {
 public:
  DynamicRewriter(Model& model, const LayerFilter& filter, const DynamicInt8Options& options)
      : model_(model), graph_(model.edit()), filter_(filter), options_(options) {}

  std::vector<Int8Layer> run() {
    std::vector<Int8Layer> result;
    for (Layer& layer : find_layers(model_)) {
      if (layer.bias && model_.attribute(*layer.bias).isNone()) layer.bias.reset();
      const bool is_rnn = layer.kind == LayerKind::kLstm || layer.kind == LayerKind::kGru;
      const bool is_linear = layer.kind == LayerKind::kLinear && options_.has_linear;
      if (!is_rnn && !is_linear) {
        if (options_.has_linear)
          result.push_back({layer.name, false, "it has no dynamic INT8 kernel", {}, layer.node});
        continue;
      }
      const std::string obstacle = is_rnn ? rnn_obstacle(layer) : linear_obstacle(layer);
      Node* node = layer.node;
      if (obstacle.empty()) {
        try {
          if (options_.is_portable) {
            store_weights(layer);
          } else {
            node = is_rnn ? replace_rnn(layer) : replace_linear(layer);
          }
        } catch (const Error& error) {
          throw Error(error.code(), "layer '" + layer.name + "': " + error.what(), error.hint());
        }
      }
      const std::string state = options_.is_portable ? "weights alone, in plain ops" : "dynamic";
      result.push_back(
          {layer.name, obstacle.empty(), obstacle.empty() ? state : obstacle, {}, node});
    }
    torch::jit::EliminateDeadCode(graph_);
    model_.remove_unused_attributes();
    return result;
  }

 private:
  std::string linear_obstacle(const Layer& layer) const {
    if (op_of(layer.node) != "aten::linear") return "it is INT8 already";
    if (!filter_.accepts(layer.name)) return "the recipe excludes it";
    if (!layer.weight) return "its weight is computed in the graph";
    if (!is_float_tensor(model_.attribute(*layer.weight))) return "its weight is not float32";
    if (!layer.bias && !constant_of(layer.node->namedInput("bias")))
      return "its bias is computed in the graph";
    return "";
  }

  std::string rnn_obstacle(const Layer& layer) const {
    const std::string op = op_of(layer.node);
    if (op != "aten::lstm" && op != "aten::gru") return "a single cell has no INT8 form here";
    if (!filter_.accepts(layer.name)) return "the recipe excludes it";
    const Node* list = layer.node->namedInput("params")->node();
    if (list->kind() != c10::prim::ListConstruct) return "its weights are not a fixed list";
    for (const Value* weight : list->inputs()) {
      const std::string path = attribute_path(weight);
      if (path.empty() || !model_.has_attribute(path) || !is_float_tensor(model_.attribute(path))) {
        return "its weights are not stored float32 tensors";
      }
    }
    const auto has_biases = constant_of(layer.node->namedInput("has_biases"));
    if (!has_biases) return "whether it has biases is not a constant";
    if (list->inputs().size() % (has_biases->toBool() ? 4 : 2) != 0 ||
        has_projection(list, has_biases->toBool())) {
      return "INT8 RNNs have no projections";
    }
    return "";
  }

  /// An LSTM with projections has a fifth (without biases a third) matrix a layer.
  bool has_projection(const Node* list, bool has_biases) const {
    const std::size_t step = has_biases ? 4 : 2;
    for (std::size_t i = 0; i + 1 < list->inputs().size(); i += step) {
      const at::Tensor ih = tensor(list, i), hh = tensor(list, i + 1);
      const bool is_pair = ih.dim() == 2 && hh.dim() == 2 && ih.size(0) == hh.size(0) &&
                           hh.size(0) % hh.size(1) == 0;
      if (!is_pair) return true;
    }
    return false;
  }

  at::Tensor tensor(const Node* list, std::size_t index) const {
    return model_.tensor(attribute_path(list->inputs()[index]));
  }

  /// The portable form: biases and the op itself stay.
  void store_weights(const Layer& layer) {
    const torch::jit::WithInsertPoint guard(layer.node);
    if (layer.kind == LayerKind::kLinear) {
      layer.node->replaceInput(1, dequantized(*layer.weight, options_.weights));
      return;
    }
    std::vector<Value*> weights = layer.node->namedInput("params")->node()->inputs().vec();
    const bool has_biases = constant_of(layer.node->namedInput("has_biases"))->toBool();
    WeightScheme per_matrix = options_.weights;
    per_matrix.per_channel = false;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const bool is_bias = has_biases && i % 4 >= 2;
      if (!is_bias) weights[i] = dequantized(attribute_path(weights[i]), per_matrix);
    }
    Node* list = graph_->insertNode(graph_->createList(c10::TensorType::get(), weights));
    const auto place = layer.node->schema().argumentIndexWithName("params");
    layer.node->replaceInput(static_cast<std::size_t>(*place), list->output());
  }

  /// Layers that share a weight share what is stored.
  Value* dequantized(const std::string& name, const WeightScheme& scheme) {
    auto stored = stored_.find(name);
    if (stored == stored_.end()) {
      const QuantizedWeight weight = quantize_weight(model_.tensor(name), scheme);
      stored = stored_.emplace(name, store_weight(model_, name, weight)).first;
    }
    return insert_dequantized(*graph_, model_, stored->second);
  }

  Node* replace_linear(const Layer& layer) {
    const QuantizedWeight weight = quantize_weight(model_.tensor(*layer.weight), options_.weights);
    const c10::IValue packed =
        pack_linear(weight, layer.bias ? model_.tensor(*layer.bias) : at::Tensor());
    Node* relu = relu_after(layer.node);
    const torch::jit::WithInsertPoint guard(layer.node);
    Node* made = graph_->create(
        c10::Symbol::fromQualString(relu ? "quantized::linear_relu_dynamic"
                                         : "quantized::linear_dynamic"),
        {layer.node->input(0), attribute(layer.name, packed), graph_->insertConstant(false)}, 1);
    graph_->insertNode(made);
    (relu ? relu : layer.node)->output()->replaceAllUsesWith(made->output());
    if (relu) relu->destroy();
    layer.node->destroy();
    return made;
  }

  static Node* relu_after(const Node* node) {
    const auto& uses = node->output()->uses();
    if (uses.size() != 1 || uses[0].user->owningBlock() != node->owningBlock()) return nullptr;
    return op_of(uses[0].user) == "aten::relu" ? uses[0].user : nullptr;
  }

  Node* replace_rnn(const Layer& layer) {
    const torch::jit::WithInsertPoint guard(layer.node);
    std::vector<Value*> cells;
    for (const c10::IValue& cell : pack_cells(layer)) cells.push_back(attribute(layer.name, cell));
    Node* list = graph_->insertNode(graph_->createList(cells.at(0)->type(), cells));

    // Kernels want biases; cells without them got zeros.
    Value* yes = graph_->insertConstant(true);
    std::vector<Value*> inputs = arguments(layer, list->output(), yes);
    const bool is_lstm = layer.kind == LayerKind::kLstm;
    if (is_lstm) {
      inputs.push_back(graph_->insertConstant(static_cast<std::int64_t>(at::kQInt8)));
      inputs.push_back(yes);  // use_dynamic
    }
    Node* made = graph_->create(
        c10::Symbol::fromQualString(is_lstm ? "aten::quantized_lstm" : "aten::quantized_gru"),
        inputs, layer.node->outputs().size());
    graph_->insertNode(made);
    for (std::size_t i = 0; i < made->outputs().size(); ++i) {
      layer.node->outputs()[i]->replaceAllUsesWith(made->outputs()[i]);
    }
    layer.node->destroy();
    return made;
  }

  /// The float op's arguments with packed cells in the place of its weights.
  static std::vector<Value*> arguments(const Layer& layer, Value* cells, Value* has_biases) {
    const auto& schema = layer.node->schema();
    std::vector<Value*> inputs = layer.node->inputs().vec();
    inputs.at(static_cast<std::size_t>(*schema.argumentIndexWithName("params"))) = cells;
    inputs.at(static_cast<std::size_t>(*schema.argumentIndexWithName("has_biases"))) = has_biases;
    return inputs;
  }

  /// One packed cell a layer and direction, in LibTorch's order.
  std::vector<c10::IValue> pack_cells(const Layer& layer) const {
    const Node* list = layer.node->namedInput("params")->node();
    const bool has_biases = constant_of(layer.node->namedInput("has_biases"))->toBool();
    const std::size_t step = has_biases ? 4 : 2;
    WeightScheme per_matrix = options_.weights;
    per_matrix.per_channel = false;
    std::vector<c10::IValue> cells;
    for (std::size_t i = 0; i < list->inputs().size(); i += step) {
      const at::Tensor ih = tensor(list, i), hh = tensor(list, i + 1);
      const at::Tensor none = at::zeros({ih.size(0)});
      cells.push_back(pack_rnn_cell(
          quantize_weight(ih, per_matrix), quantize_weight(hh, per_matrix),
          has_biases ? tensor(list, i + 2) : none, has_biases ? tensor(list, i + 3) : none));
    }
    return cells;
  }

  Value* attribute(const std::string& layer, const c10::IValue& packed) {
    return insert_attribute(*graph_, model_,
                            model_.add_attribute(layer + ".packed", packed.type(), packed));
  }

  Model& model_;
  std::shared_ptr<Graph> graph_;
  const LayerFilter& filter_;
  DynamicInt8Options options_;
  std::unordered_map<std::string, StoredWeight> stored_;
};

}  // namespace

std::vector<Int8Layer> rewrite_dynamic_int8(Model& model, const LayerFilter& filter,
                                            const DynamicInt8Options& options) {
  return DynamicRewriter(model, filter, options).run();
}

}  // namespace edgecompress
