#include "model/int8_rewrite.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <map>
#include <set>
#include <unordered_map>

#include "edgecompress/error.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

/// Ops that only ask about a tensor and take INT8 ones too.
bool asks_for_shape(const Node* node) {
  const std::string op = op_of(node);
  return op == "aten::size" || op == "aten::dim" || op == "aten::numel" || op == "aten::len";
}

class Rewriter {
 public:
  Rewriter(Model& model, const Int8Scheme& scheme)
      : model_(model), graph_(model.edit()), scheme_(scheme) {}

  std::vector<Int8Layer> run() {
    const Int8Plan& plan = scheme_.plan;
    for (const Int8Op& op : plan.ops) replace(op);
    for (auto op = plan.ops.rbegin(); op != plan.ops.rend(); ++op) remove_float(*op);
    loosen_views(graph_->block());
    torch::jit::EliminateDeadCode(graph_);
    model_.remove_unused_attributes();
    layers_.insert(layers_.end(), plan.float_layers.begin(), plan.float_layers.end());
    return std::move(layers_);
  }

 private:
  void replace(const Int8Op& op) {
    const torch::jit::WithInsertPoint guard(op.node);
    Node* made = nullptr;
    switch (op.form) {
      case Int8Op::Form::kConv:
      case Int8Op::Form::kLinear:
        made = make_layer(op);
        break;
      case Int8Op::Form::kCat:
        made = make_cat(op);
        break;
      case Int8Op::Form::kBinary:
        made = make(quantized_name(op), {int8(op.node->input(0)), int8(op.node->input(1))}, op);
        break;
      case Int8Op::Form::kUnary:
        made = make_unary(op);
        break;
      case Int8Op::Form::kSame:
        made = graph_->createClone(op.node, [&](Value* value) {
          return value == op.node->input(0) ? int8(value) : value;
        });
        graph_->insertNode(made);
        break;
    }
    const auto outputs = (op.activation ? op.activation : op.node)->outputs();
    for (std::size_t i = 0; i < outputs.size(); ++i) int8_[outputs[i]] = made->outputs()[i];
  }

  /// "quantized::conv2d_relu" for aten::conv2d with a clamp after it.
  static std::string quantized_name(const Int8Op& op) {
    const std::string name = op_of(op.node);
    return "quantized" + name.substr(name.find(':')) + (op.activation ? "_relu" : "");
  }

  /// Inserts an op whose last two inputs are the scale and zero point of what it makes.
  Node* make(const std::string& name, std::vector<Value*> inputs, const Int8Op& op) {
    const QuantizedRange range = scheme_.ranges.at(op.output());
    inputs.push_back(graph_->insertConstant(range.scale));
    inputs.push_back(graph_->insertConstant(range.zero_point));
    return insert(name, inputs);
  }

  Node* insert(const std::string& name, const std::vector<Value*>& inputs) {
    Node* node = graph_->create(c10::Symbol::fromQualString(name), inputs, 1);
    return graph_->insertNode(node);
  }

  Node* make_layer(const Int8Op& op) {
    Value* packed = insert_attribute(*graph_, model_, packed_weight(op));
    Value* input = int8(op.node->input(0));
    layers_.push_back({op.layer->name, true, "static", scheme_.ranges.at(op.output())});
    return make(quantized_name(op), {input, packed}, op);
  }

  Node* make_cat(const Int8Op& op) {
    std::vector<Value*> tensors;
    for (Value* value : op.node->input(0)->node()->inputs()) tensors.push_back(int8(value));
    Node* list = graph_->insertNode(graph_->createList(c10::TensorType::get(), tensors));
    return make(quantized_name(op), {list->output(), op.node->input(1)}, op);
  }

  Node* make_unary(const Int8Op& op) {
    const std::string name = op_of(op.node);
    Value* input = int8(op.node->input(0));
    if (name == "aten::leaky_relu") {
      return make(quantized_name(op), {input, op.node->input(1), graph_->insertConstant(false)},
                  op);
    }
    if (name == "aten::elu") {  // its alpha and scales come after the range
      const QuantizedRange range = scheme_.ranges.at(op.output());
      return insert("quantized::elu", {input, graph_->insertConstant(range.scale),
                                       graph_->insertConstant(range.zero_point), op.node->input(1),
                                       op.node->input(2), op.node->input(3)});
    }
    return make(quantized_name(op), {input}, op);
  }

  /// Name of the attribute that holds the layer's packed weights; layers that share weights share
  /// it.
  std::string packed_weight(const Int8Op& op) {
    const Layer& layer = *op.layer;
    const at::Tensor& bias = scheme_.biases.at(op.node);
    const PackKey key{*layer.weight,       bias.unsafeGetTensorImpl(), op.geometry.stride,
                      op.geometry.padding, op.geometry.dilation,       op.geometry.groups};
    const auto known = packed_.find(key);
    if (known != packed_.end()) return known->second;
    const QuantizedWeight& weight = scheme_.weights.at(*layer.weight);
    try {
      const c10::IValue packed = op.form == Int8Op::Form::kConv
                                     ? pack_conv(weight, bias, op.geometry)
                                     : pack_linear(weight, bias);
      return packed_[key] = model_.add_attribute(layer.name + ".packed", packed.type(), packed);
    } catch (const Error& error) {
      throw Error(error.code(), "layer '" + layer.name + "': " + error.what(), error.hint());
    }
  }

  /// The INT8 form of a value: made by an op of the plan, or quantized where the value is made.
  Value* int8(Value* value) {
    const auto known = int8_.find(value);
    if (known != int8_.end()) return known->second;
    const bool is_parameter = value->node()->kind() == c10::prim::Param;
    Node* place =
        is_parameter ? *value->node()->owningBlock()->nodes().begin() : value->node()->next();
    const torch::jit::WithInsertPoint guard(place);
    const QuantizedRange range = scheme_.ranges.at(value);
    Node* quantize = insert(
        "aten::quantize_per_tensor",
        {value, graph_->insertConstant(range.scale), graph_->insertConstant(range.zero_point),
         graph_->insertConstant(static_cast<std::int64_t>(at::kQUInt8))});
    return int8_[value] = quantize->output();
  }

  /// Called last to first, so that only float readers are left.
  void remove_float(const Int8Op& op) {
    Node* last = op.activation ? op.activation : op.node;
    for (Value* output : last->outputs()) {
      const std::vector<torch::jit::Use> uses = output->uses();
      for (const torch::jit::Use& use : uses) {
        if (asks_for_shape(use.user)) use.user->replaceInput(use.offset, int8_.at(output));
      }
      if (output->uses().empty()) continue;
      Value* quantized = int8_.at(output);
      const torch::jit::WithInsertPoint guard(quantized->node()->next());
      output->replaceAllUsesWith(insert("aten::dequantize", {quantized})->output());
    }
    Node* list = op.form == Int8Op::Form::kCat ? op.node->input(0)->node() : nullptr;
    if (op.activation) op.activation->destroy();
    op.node->destroy();
    if (list && list->output()->uses().empty()) list->destroy();
  }

  /// INT8 convolutions give channels-last tensors, which aten::view can't always look at.
  void loosen_views(torch::jit::Block* block) {
    std::vector<Node*> views;
    for (Node* node : block->nodes()) {
      for (torch::jit::Block* nested : node->blocks()) loosen_views(nested);
      const bool is_view =
          op_of(node) == "aten::view" && node->input(1)->type()->kind() == c10::TypeKind::ListType;
      if (is_view) views.push_back(node);
    }
    for (Node* view : views) {
      const torch::jit::WithInsertPoint guard(view);
      Node* reshape = insert("aten::reshape", {view->input(0), view->input(1)});
      view->output()->replaceAllUsesWith(reshape->output());
      view->destroy();
    }
  }

  using PackKey = std::tuple<std::string, const c10::TensorImpl*, std::vector<std::int64_t>,
                             std::vector<std::int64_t>, std::vector<std::int64_t>, std::int64_t>;
  Model& model_;
  std::shared_ptr<Graph> graph_;
  const Int8Scheme& scheme_;
  std::unordered_map<const Value*, Value*> int8_;
  std::map<PackKey, std::string> packed_;
  std::vector<Int8Layer> layers_;
};

std::int64_t remove_dropouts_in(torch::jit::Block* block) {
  static const std::set<std::string> dropouts = {"aten::dropout", "aten::feature_dropout",
                                                 "aten::alpha_dropout",
                                                 "aten::feature_alpha_dropout"};
  std::vector<Node*> found;
  std::int64_t removed = 0;
  for (Node* node : block->nodes()) {
    for (torch::jit::Block* nested : node->blocks()) removed += remove_dropouts_in(nested);
    if (!dropouts.count(op_of(node))) continue;
    const auto is_training = constant_of(node->input(2));
    const bool is_idle =
        is_training ? !is_training->toBool() : !attribute_path(node->input(2)).empty();
    if (is_idle) found.push_back(node);
  }
  for (Node* node : found) {
    node->output()->replaceAllUsesWith(node->input(0));
    node->destroy();
  }
  return removed + static_cast<std::int64_t>(found.size());
}

}  // namespace

std::vector<Int8Layer> rewrite_static_int8(Model& model, const Int8Scheme& scheme) {
  return Rewriter(model, scheme).run();
}

std::int64_t remove_dropouts(Model& model) { return remove_dropouts_in(model.edit()->block()); }

}  // namespace edgecompress
