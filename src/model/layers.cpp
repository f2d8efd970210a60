#include "model/layers.h"

#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "edgecompress/error.h"
#include "model/torch_compat.h"
#include "util/text.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

const std::map<std::string, LayerKind>& kinds_by_op() {
  static const std::map<std::string, LayerKind> kinds = {
      {"aten::conv1d", LayerKind::kConv},
      {"aten::conv2d", LayerKind::kConv},
      {"aten::conv3d", LayerKind::kConv},
      {"aten::_convolution", LayerKind::kConv},
      {"aten::convolution", LayerKind::kConv},
      {"quantized::conv1d", LayerKind::kConv},
      {"quantized::conv1d_relu", LayerKind::kConv},
      {"quantized::conv2d", LayerKind::kConv},
      {"quantized::conv2d_relu", LayerKind::kConv},
      {"quantized::conv3d", LayerKind::kConv},
      {"quantized::conv3d_relu", LayerKind::kConv},
      {"aten::conv_transpose1d", LayerKind::kConvTransposed},
      {"aten::conv_transpose2d", LayerKind::kConvTransposed},
      {"aten::conv_transpose3d", LayerKind::kConvTransposed},
      {"quantized::conv_transpose1d", LayerKind::kConvTransposed},
      {"quantized::conv_transpose2d", LayerKind::kConvTransposed},
      {"quantized::conv_transpose3d", LayerKind::kConvTransposed},
      {"aten::linear", LayerKind::kLinear},
      {"quantized::linear", LayerKind::kLinear},
      {"quantized::linear_relu", LayerKind::kLinear},
      {"quantized::linear_dynamic", LayerKind::kLinear},
      {"quantized::linear_relu_dynamic", LayerKind::kLinear},
      {"aten::batch_norm", LayerKind::kBatchNorm},
      {"aten::layer_norm", LayerKind::kNorm},
      {"aten::group_norm", LayerKind::kNorm},
      {"aten::instance_norm", LayerKind::kNorm},
      {"aten::embedding", LayerKind::kEmbedding},
      {"aten::embedding_bag", LayerKind::kEmbedding},
      {"quantized::embedding_byte", LayerKind::kEmbedding},
      {"aten::lstm", LayerKind::kLstm},
      {"aten::lstm_cell", LayerKind::kLstm},
      {"aten::quantized_lstm", LayerKind::kLstm},
      {"aten::gru", LayerKind::kGru},
      {"aten::gru_cell", LayerKind::kGru},
      {"aten::quantized_gru", LayerKind::kGru},
      {"aten::rnn_tanh", LayerKind::kRnn},
      {"aten::rnn_relu", LayerKind::kRnn},
      {"aten::rnn_tanh_cell", LayerKind::kRnn},
      {"aten::rnn_relu_cell", LayerKind::kRnn},
  };
  return kinds;
}

bool is_matmul(const std::string& op) {
  return op == "aten::matmul" || op == "aten::mm" || op == "aten::bmm" || op == "aten::addmm" ||
         op == "aten::baddbmm" || op == "aten::einsum" ||
         op == "aten::scaled_dot_product_attention" || op == "aten::_native_multi_head_attention";
}

/// A tensor, perhaps optional, or one of LibTorch's packed weights.
bool is_weight_type(const c10::TypePtr& type) {
  if (const auto optional = type->cast<c10::OptionalType>()) {
    return is_weight_type(optional->getElementType());
  }
  if (type->isSubtypeOf(*c10::TensorType::get())) return true;
  const auto object = type->cast<c10::ClassType>();
  return object && object->name() &&
         object->name()->qualifiedName().rfind("__torch__.torch.classes.", 0) == 0;
}

/// Follows which values hang on attributes alone, and names the attributes behind them.
class WeightValues {
 public:
  bool contains(const Value* value) const { return values_.count(value) > 0; }

  /// Called in execution order. True if the node's outputs hang on attributes alone.
  bool add(const Node* node) {
    if (!computes_from_weights(node)) return false;
    values_.insert(node->outputs().begin(), node->outputs().end());
    return true;
  }

  /// Dotted names behind `value`, which may be a list that mixes them with activations.
  void collect(const Value* value, std::vector<std::string>& names) const {
    if (is_weight_type(value->type())) {
      const std::string path = attribute_path(value);
      if (!path.empty()) {
        if (std::find(names.begin(), names.end(), path) == names.end()) names.push_back(path);
        return;
      }
    }
    if (!contains(value) && value->node()->kind() != c10::prim::ListConstruct) return;
    for (const Value* input : value->node()->inputs()) collect(input, names);
  }

 private:
  bool computes_from_weights(const Node* node) const {
    if (node->kind() == c10::prim::GetAttr) {
      return is_weight_type(node->output()->type()) && !attribute_path(node->output()).empty();
    }
    if (!node->blocks().empty()) return false;
    bool reads_weight = false;
    for (const Value* input : node->inputs()) {
      if (contains(input)) {
        reads_weight = true;
      } else if (!constant_of(input)) {
        return false;
      }
    }
    return reads_weight;
  }

  std::unordered_set<const Value*> values_;
};

/// The attribute that the argument called `argument` reads, if it reads one directly.
std::optional<std::string> direct_attribute(const Node* node, const std::string& argument) {
  const auto* schema = node->maybeSchema();
  if (!schema) return std::nullopt;
  const auto index = schema->argumentIndexWithName(argument);
  if (!index || static_cast<std::size_t>(*index) >= node->inputs().size()) return std::nullopt;
  const std::string path = attribute_path(node->input(*index));
  if (path.empty()) return std::nullopt;
  return path;
}

std::optional<std::string> weight_of(const Node* node) {
  const std::string op = op_of(node);
  if (op == "aten::addmm") return direct_attribute(node, "mat2");
  if (!is_matmul(op)) return direct_attribute(node, "weight");
  for (const char* argument : {"other", "mat2", "batch2", "self"}) {
    if (auto path = direct_attribute(node, argument)) return path;
  }
  return std::nullopt;
}

Layer describe(Node* node, LayerKind kind, const WeightValues& weight_values, std::size_t number) {
  const std::string op = op_of(node);
  Layer layer;
  layer.node = node;
  layer.kind = kind;
  for (const Value* input : node->inputs()) weight_values.collect(input, layer.weights);
  layer.weight = weight_of(node);
  layer.bias = direct_attribute(node, op == "aten::addmm" ? "self" : "bias");
  if (layer.weight) {
    layer.name = module_of(*layer.weight);
  } else if (!layer.weights.empty()) {
    layer.name = module_of(layer.weights.front());
  } else {
    layer.name = op + "#" + std::to_string(number);
  }
  return layer;
}

bool reads_weight(const Node* node, const WeightValues& weight_values) {
  return std::any_of(node->inputs().begin(), node->inputs().end(), [&](const Value* input) {
    std::vector<std::string> names;
    weight_values.collect(input, names);
    return !names.empty();
  });
}

void find_layers_in(torch::jit::Block* block, WeightValues& weight_values,
                    std::vector<Layer>& layers) {
  for (Node* node : block->nodes()) {
    for (torch::jit::Block* nested : node->blocks()) find_layers_in(nested, weight_values, layers);
    if (weight_values.add(node) || node->kind().is_prim()) continue;
    const std::string op = op_of(node);
    const auto kind = kinds_by_op().find(op);
    const bool is_known = kind != kinds_by_op().end();
    if (!is_known && !reads_weight(node, weight_values)) continue;
    const LayerKind other = is_matmul(op) ? LayerKind::kMatmul : LayerKind::kOther;
    layers.push_back(describe(node, is_known ? kind->second : other, weight_values, layers.size()));
  }
}

}  // namespace

std::string to_string(LayerKind kind) {
  switch (kind) {
    case LayerKind::kConv:
      return "conv";
    case LayerKind::kConvTransposed:
      return "conv_transposed";
    case LayerKind::kLinear:
      return "linear";
    case LayerKind::kMatmul:
      return "matmul";
    case LayerKind::kBatchNorm:
      return "batch_norm";
    case LayerKind::kNorm:
      return "norm";
    case LayerKind::kEmbedding:
      return "embedding";
    case LayerKind::kLstm:
      return "lstm";
    case LayerKind::kGru:
      return "gru";
    case LayerKind::kRnn:
      return "rnn";
    case LayerKind::kOther:
      return "other";
  }
  return "other";
}

std::vector<Layer> find_layers(const Model& model) {
  WeightValues weight_values;
  std::vector<Layer> layers;
  find_layers_in(model.module().get_method("forward").graph()->block(), weight_values, layers);
  return layers;
}

std::string module_of(const std::string& dotted_name) {
  const auto dot = dotted_name.rfind('.');
  return dot == std::string::npos ? dotted_name : dotted_name.substr(0, dot);
}

std::string op_of(const Node* node) { return node->kind().toQualString(); }

bool is_written(const Value* value) {
  return std::any_of(value->uses().begin(), value->uses().end(), [](const torch::jit::Use& use) {
    const auto* schema = use.user->maybeSchema();
    if (!schema || use.offset >= schema->arguments().size()) return false;
    const auto* alias = schema->arguments()[use.offset].alias_info();
    return alias && alias->isWrite();
  });
}

std::string attribute_path(const Value* value) {
  std::string path;
  for (;; value = value->node()->input()) {
    const auto kind = value->node()->kind();
    if (kind == c10::prim::unchecked_cast) continue;  // a Tensor? that is known to be one
    if (kind != c10::prim::GetAttr) break;
    const std::string& name = value->node()->s(c10::attr::name);
    path = path.empty() ? name : name + "." + path;
  }
  const torch::jit::Graph* graph = value->owningGraph();
  return !graph->inputs().empty() && value == graph->inputs()[0] ? path : "";
}

std::optional<c10::IValue> constant_of(const Value* value) {
  if (auto constant = torch::jit::toIValue(value)) return *constant;
  if (value->node()->kind() != c10::prim::ListConstruct) return std::nullopt;
  c10::impl::GenericList list(value->type()->expectRef<c10::ListType>().getElementType());
  for (const Value* element : value->node()->inputs()) {
    const auto constant = constant_of(element);
    if (!constant) return std::nullopt;
    list.push_back(*constant);
  }
  return c10::IValue(list);
}

c10::IValue constant_argument(const Node* node, const std::string& name) {
  const auto* schema = node->maybeSchema();
  const auto index = schema ? schema->argumentIndexWithName(name) : c10::nullopt;
  if (!index || static_cast<std::size_t>(*index) >= node->inputs().size()) return {};
  const auto constant = constant_of(node->input(static_cast<std::size_t>(*index)));
  return constant ? *constant : c10::IValue();
}

Value* insert_attribute(torch::jit::Graph& graph, const std::string& dotted_name) {
  torch::jit::WithInsertPoint guard(*graph.nodes().begin());
  Value* value = graph.inputs().at(0);
  for (const std::string& part : split(dotted_name, '.')) {
    const auto type = value->type()->cast<c10::ClassType>();
    if (!type || !type->hasAttribute(part)) {
      throw Error(ExitCode::kInternal, "the model has no attribute '" + dotted_name + "'");
    }
    value = graph.insertGetAttr(value, part);
  }
  return value;
}

Value* insert_attribute(torch::jit::Graph& graph, const Model& model,
                        const std::string& dotted_name) {
  if (!model.has_attribute(dotted_name)) {
    throw Error(ExitCode::kInternal, "the model has no attribute '" + dotted_name + "'");
  }
  return insert_attribute(graph, dotted_name);
}

}  // namespace edgecompress
