#include "model/int8_plan.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

/// Ops whose INT8 kernel keeps scale and zero point, or has fixed ones (hardsigmoid, tanh).
bool has_same_kernel(const Node* node) {
  static const std::set<std::string> ops = {"aten::max_pool1d",
                                            "aten::max_pool2d",
                                            "aten::avg_pool1d",
                                            "aten::avg_pool2d",
                                            "aten::avg_pool3d",
                                            "aten::adaptive_avg_pool1d",
                                            "aten::adaptive_avg_pool2d",
                                            "aten::adaptive_avg_pool3d",
                                            "aten::mean",
                                            "aten::flatten",
                                            "aten::view",
                                            "aten::reshape",
                                            "aten::permute",
                                            "aten::transpose",
                                            "aten::slice",
                                            "aten::select",
                                            "aten::squeeze",
                                            "aten::unsqueeze",
                                            "aten::contiguous",
                                            "aten::narrow",
                                            "aten::expand",
                                            "aten::relu",
                                            "aten::hardtanh",
                                            "aten::relu6",
                                            "aten::pixel_shuffle",
                                            "aten::channel_shuffle",
                                            "aten::upsample_nearest2d",
                                            "aten::chunk",
                                            "aten::split",
                                            "aten::split_with_sizes",
                                            "aten::unbind",
                                            "aten::constant_pad_nd",
                                            "aten::pad",
                                            "aten::hardsigmoid",
                                            "aten::tanh",
                                            "aten::upsample_bilinear2d",
                                            "prim::ListUnpack"};
  return ops.count(op_of(node)) > 0;
}

bool has_unary_kernel(const Node* node) {
  const std::string op = op_of(node);
  return op == "aten::hardswish" || op == "aten::leaky_relu" || op == "aten::elu" ||
         op == "aten::sigmoid";
}

bool is_zero(const c10::IValue& value) {
  return (value.isInt() && value.toInt() == 0) || (value.isDouble() && value.toDouble() == 0);
}

/// Lists of tensors stay INT8 only if they are taken apart at once.
bool is_only_unpacked(const Value* list) {
  return std::all_of(list->uses().begin(), list->uses().end(), [](const torch::jit::Use& use) {
    return use.user->kind() == c10::prim::ListUnpack;
  });
}

/// Conditions on arguments, for the ops that have some.
bool kernel_takes_arguments(const Node* node) {
  const std::string op = op_of(node);
  const Value* output = node->outputs()[0];
  if (output->type()->kind() == c10::TypeKind::ListType && !is_only_unpacked(output)) return false;
  if (op == "aten::mean")
    return constant_argument(node, "dtype").isNone() && constant_argument(node, "dim").isIntList();
  if (op == "aten::constant_pad_nd") return is_zero(constant_argument(node, "value"));
  if (op == "aten::pad") {
    const c10::IValue mode = constant_argument(node, "mode"),
                      value = constant_argument(node, "value");
    return mode.isString() && mode.toStringRef() == "constant" &&
           (value.isNone() || is_zero(value));
  }
  if (op == "aten::hardtanh")
    return constant_argument(node, "min_val").isScalar() &&
           constant_argument(node, "max_val").isScalar();
  return true;
}

/// True for a clamp to [0, bound], which INT8 does by saturating: zero is the lowest value of its
/// range, `bound` at least its highest.
bool clamps_at_zero(const Node* node) {
  const std::string op = op_of(node);
  if (op == "aten::relu" || op == "aten::relu6") return true;
  if (op == "aten::hardtanh") return is_zero(constant_argument(node, "min_val"));
  if (op == "aten::clamp") return is_zero(constant_argument(node, "min"));
  return op == "aten::clamp_min" && is_zero(constant_argument(node, "min"));
}

Node* fused_activation(const Node* node) {
  const Value* output = node->outputs()[0];
  if (output->uses().size() != 1) return nullptr;
  Node* user = output->uses()[0].user;
  const bool is_next = user->owningBlock() == node->owningBlock() && clamps_at_zero(user) &&
                       user->inputs()[0] == output;
  return is_next ? user : nullptr;
}

std::string reason_by_kind(LayerKind kind) {
  switch (kind) {
    case LayerKind::kConvTransposed:
      return "transposed convolutions stay float";
    case LayerKind::kMatmul:
      return "products of two activations stay float";
    case LayerKind::kBatchNorm:
      return "a batch norm that no layer takes in stays float";
    case LayerKind::kNorm:
      return "normalisation over the input stays float";
    case LayerKind::kEmbedding:
      return "embeddings stay float";
    case LayerKind::kLstm:
    case LayerKind::kGru:
      return "LSTM and GRU have no static INT8 kernel; dynamic_rnn gives them a dynamic one";
    case LayerKind::kRnn:
      return "plain RNNs have no INT8 kernel";
    default:
      return "the op has no INT8 kernel with weights";
  }
}

class Int8Planner {
 public:
  Int8Planner(Model& model, const LayerFilter& filter,
              const std::function<bool(const Value*)>& has_range)
      : model_(model), has_range_(has_range) {
    for (Layer& layer : find_layers(model)) {
      if (layer.bias && model.attribute(*layer.bias).isNone()) layer.bias.reset();
      const std::string obstacle = obstacle_of(layer, filter);
      if (obstacle.empty()) {
        quantized_inputs_.insert(layer.node->input(0));
        layers_.emplace(layer.node, std::move(layer));
      } else {
        plan_.float_layers.push_back({layer.name, false, obstacle, {}});
      }
    }
  }

  Int8Plan run() {
    visit(model_.graph().block());
    return std::move(plan_);
  }

 private:
  void visit(const torch::jit::Block* block) {
    for (Node* node : const_cast<torch::jit::Block*>(block)->nodes()) {
      for (const torch::jit::Block* nested : node->blocks()) visit(nested);
      if (auto op = plan_node(node)) add(std::move(*op));
    }
  }

  std::optional<Int8Op> plan_node(Node* node) {
    if (fused_.count(node)) return std::nullopt;
    const auto form = form_of(node);
    if (!form) return std::nullopt;
    Int8Op op;
    op.form = *form;
    op.node = node;
    if (op.form != Int8Op::Form::kSame && op.form != Int8Op::Form::kCat &&
        op.form != Int8Op::Form::kUnary) {
      op.activation = fused_activation(node);
    }
    const bool is_reached = !op.has_own_range() || has_range_(op.output());
    const auto layer = layers_.find(node);
    if (layer == layers_.end()) {
      if (!is_reached || is_written(op.output())) return std::nullopt;
      return op;
    }
    const Value* input = node->input(0);
    if (!is_reached || !(int8_.count(input) || has_range_(input))) {
      plan_.float_layers.push_back(
          {layer->second.name, false, "no calibration data reached it in float32", {}});
      return std::nullopt;
    }
    op.layer = layer->second;
    if (op.form == Int8Op::Form::kConv) op.geometry = *geometry_of(layer->second);
    return op;
  }

  std::optional<Int8Op::Form> form_of(const Node* node) const {
    const auto layer = layers_.find(node);
    if (layer != layers_.end()) {
      return layer->second.kind == LayerKind::kConv ? Int8Op::Form::kConv : Int8Op::Form::kLinear;
    }
    if (node->inputs().empty() || node->outputs().empty()) return std::nullopt;
    if (is_int8_binary(node)) return Int8Op::Form::kBinary;
    if (is_int8_cat(node)) return Int8Op::Form::kCat;
    if (!int8_.count(node->input(0))) return std::nullopt;
    if (has_unary_kernel(node)) return Int8Op::Form::kUnary;
    if (has_same_kernel(node) && kernel_takes_arguments(node)) return Int8Op::Form::kSame;
    return std::nullopt;
  }

  void add(Int8Op op) {
    if (op.layer && !int8_.count(op.node->input(0))) plan_.measured.push_back(op.node->input(0));
    if (op.has_own_range()) plan_.measured.push_back(op.output());
    if (op.activation) fused_.insert(op.activation);
    const Node* last = op.activation ? op.activation : op.node;
    int8_.insert(last->outputs().begin(), last->outputs().end());
    plan_.ops.push_back(std::move(op));
  }

  /// "" if the layer can be INT8.
  std::string obstacle_of(const Layer& layer, const LayerFilter& filter) const {
    if (layer.kind != LayerKind::kConv && layer.kind != LayerKind::kLinear)
      return reason_by_kind(layer.kind);
    const std::string op = op_of(layer.node);
    if (op.rfind("quantized::", 0) == 0) return "it is INT8 already";
    if (op == "aten::_convolution" || op == "aten::convolution")
      return op + " is not a canonical op";
    if (!filter.accepts(layer.name)) return "the recipe excludes it";
    if (!layer.weight) return "its weight is computed in the graph";
    if (model_.tensor(*layer.weight).scalar_type() != at::kFloat)
      return "its weight is not float32";
    if (!layer.bias && !bias_is_none(layer.node)) return "its bias is computed in the graph";
    if (layer.kind == LayerKind::kConv && !geometry_of(layer))
      return "its stride, padding or groups are not constants that INT8 kernels take";
    if (is_written(layer.node->input(0)) || is_written(layer.node->outputs()[0])) {
      return "its input or output is changed in place";
    }
    return "";
  }

  bool bias_is_none(const Node* node) const {
    const Value* bias = node->namedInput("bias");
    if (const auto constant = constant_of(bias)) return constant->isNone();
    const std::string path = attribute_path(bias);
    return !path.empty() && model_.has_attribute(path) && model_.attribute(path).isNone();
  }

  std::optional<ConvGeometry> geometry_of(const Layer& layer) const {
    return conv_geometry(layer.node, model_.tensor(*layer.weight).sizes());
  }

  /// INT8 already, or made so for a layer anyway.
  bool is_available(const Value* value) const {
    return int8_.count(value) || (quantized_inputs_.count(value) && has_range_(value));
  }

  bool is_int8_binary(const Node* node) const {
    const std::string op = op_of(node);
    if ((op != "aten::add" && op != "aten::mul") || node->inputs().size() < 2) return false;
    if (op == "aten::add" && !(constant_argument(node, "alpha").isInt() &&
                               constant_argument(node, "alpha").toInt() == 1))
      return false;
    const Value *a = node->input(0), *b = node->input(1);
    return is_available(a) && is_available(b) && (int8_.count(a) || int8_.count(b));
  }

  bool is_int8_cat(const Node* node) const {
    if (op_of(node) != "aten::cat" || node->input(0)->node()->kind() != c10::prim::ListConstruct)
      return false;
    const Node* list = node->input(0)->node();
    if (list->output()->uses().size() != 1) return false;
    const auto all = list->inputs();
    return std::all_of(all.begin(), all.end(),
                       [&](const Value* value) { return is_available(value); }) &&
           std::any_of(all.begin(), all.end(),
                       [&](const Value* value) { return int8_.count(value) > 0; });
  }

  Model& model_;
  const std::function<bool(const Value*)>& has_range_;
  std::unordered_map<const Node*, Layer> layers_;  // that can be INT8
  std::unordered_set<const Value*> quantized_inputs_;
  std::unordered_set<const Value*> int8_;
  std::unordered_set<const Node*> fused_;
  Int8Plan plan_;
};

}  // namespace

Int8Plan plan_static_int8(Model& model, const LayerFilter& filter,
                          const std::function<bool(const Value*)>& has_range) {
  return Int8Planner(model, filter, has_range).run();
}

}  // namespace edgecompress
