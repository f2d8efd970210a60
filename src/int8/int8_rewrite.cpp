#include "int8/int8_rewrite.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <map>
#include <set>
#include <unordered_map>

#include "edgecompress/error.h"
#include "int8/int8_nodes.h"
#include "int8/int8_table.h"
#include "model/graph_building.h"
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
      : model_(model),
        shapes_(shapes_of(model)),
        graph_(model.edit()),
        nodes_(*graph_, shapes_),
        scheme_(scheme) {}

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
  static ShapeMap shapes_of(const Model& model) {
    return model.inputs().empty() ? ShapeMap() : record_shapes(model, model.example_inputs(0));
  }

  void replace(const Int8Op& op) {
    const torch::jit::WithInsertPoint guard(op.node);
    Node* made = make(op);
    const auto outputs = (op.activation ? op.activation : op.node)->outputs();
    for (std::size_t i = 0; i < outputs.size(); ++i) int8_[outputs[i]] = made->outputs()[i];
    if (op.layer || !op.norm.empty()) {
      layers_.push_back({op.layer ? op.layer->name : op.norm, true, "static",
                         scheme_.ranges.at(op.output()), kernel_of(made)});
    }
  }

  /// Of a layer: what stands before the views that a linear one over pixels ends in.
  static const Node* kernel_of(const Node* made) {
    while (op_of(made).rfind("quantized::", 0) != 0) made = made->input(0)->node();
    return made;
  }

  Node* make(const Int8Op& op) {
    switch (op.form) {
      case Int8Form::kConv:
      case Int8Form::kConvTransposed:
        return in_its_range(op, quantized_name(op),
                            {int8(op.node->input(0)), packed_weight(op, op.geometry)});
      case Int8Form::kLinear:
        return make_linear(op);
      case Int8Form::kCat:
        return make_cat(op);
      case Int8Form::kBinary:
        return make_binary(op);
      case Int8Form::kTable:
        return make_table(op);
      case Int8Form::kUnary:
        return in_its_range(op, int8_kernel(op.node)->kernel, arguments(op));
      case Int8Form::kSame:
        return make_same(op);
    }
    TORCH_INTERNAL_ASSERT(false);
  }

  /// "quantized::conv2d_relu" for aten::conv2d with a clamp after it.
  static std::string quantized_name(const Int8Op& op) {
    const std::string name = op_of(op.node);
    return "quantized" + name.substr(name.find(':')) + (op.activation ? "_relu" : "");
  }

  /// Inserts an op whose last two inputs are the scale and zero point of what it makes.
  Node* in_its_range(const Int8Op& op, const std::string& kernel, std::vector<Value*> inputs) {
    const QuantizedRange range = scheme_.ranges.at(op.output());
    inputs.push_back(nodes_.constant(range.scale));
    inputs.push_back(nodes_.constant(range.zero_point));
    return nodes_.insert(kernel, inputs);
  }

  Node* make_linear(const Int8Op& op) {
    Value* input = op.node->input(0);
    const at::Tensor& weight = scheme_.weights.at(*op.layer->weight).values;
    if (!nodes_.is_faster_over_pixels(input, weight))
      return in_its_range(op, quantized_name(op), {int8(input), packed_weight(op, op.geometry)});
    const ConvGeometry over_pixels{{1, 1}, {0, 0}, {1, 1}};
    Node* convolution =
        in_its_range(op, op.activation ? "quantized::conv2d_relu" : "quantized::conv2d",
                     {nodes_.rows_to_pixels(int8(input), input, weight.size(1)),
                      packed_weight(op, over_pixels)});
    return nodes_.pixels_to_rows(convolution->output(), input, weight.size(0));
  }

  Node* make_cat(const Int8Op& op) {
    std::vector<Value*> tensors;
    for (Value* value : op.operands()) tensors.push_back(int8(value));
    Node* list = graph_->insertNode(graph_->createList(c10::TensorType::get(), tensors));
    return in_its_range(op, quantized_name(op), {list->output(), op.node->input(1)});
  }

  Node* make_binary(const Int8Op& op) {
    Value *a = op.node->input(0), *b = op.node->input(1);
    Value *int8_a = int8(a), *int8_b = int8(b);
    return in_its_range(
        op, quantized_name(op),
        {nodes_.stretch(int8_a, a, int8_b, b), nodes_.stretch(int8_b, b, int8_a, a)});
  }

  Node* make_table(const Int8Op& op) {
    Value* input = op.node->input(0);
    const QuantizedRange range = scheme_.ranges.at(op.output());
    const at::Tensor table = make_int8_table(*op.node, *scheme_.range_of(input), range);
    const std::string op_name = op_of(op.node);
    const std::string name = model_.add_attribute(op_name.substr(op_name.rfind(':') + 1) + ".table",
                                                  c10::TensorType::get(), table);
    return nodes_.look_up(int8(input), input, insert_attribute(*graph_, model_, name), range)
        ->node();
  }

  /// What the kernel takes of the float op's arguments.
  std::vector<Value*> arguments(const Int8Op& op) {
    std::vector<Value*> values{int8(op.node->input(0))};
    const auto& names = int8_kernel(op.node)->arguments;
    for (std::size_t i = 1; i < names.size(); ++i) {
      values.push_back(names[i] == "false"            ? nodes_.constant(false)
                       : names[i] == "weight in INT8" ? int8_weight(op.node)
                                                      : argument(op.node, names[i]));
    }
    return values;
  }

  /// Of an op that takes its few weights as an INT8 tensor, not packed.
  Value* int8_weight(Node* node) {
    const std::string name = attribute_path(node->namedInput("weight"));
    const at::Tensor weight = model_.tensor(name).detach();
    const QuantizedRange range =
        choose_range(weight.min().item<double>(), weight.max().item<double>());
    const at::Tensor numbers =
        at::quantize_per_tensor(weight, range.scale, range.zero_point, at::kQUInt8).int_repr();
    const std::string stored =
        model_.add_attribute(name + ".int8", c10::TensorType::get(), numbers);
    return nodes_
        .insert("aten::_make_per_tensor_quantized_tensor",
                {insert_attribute(*graph_, model_, stored), nodes_.constant(range.scale),
                 nodes_.constant(range.zero_point)})
        ->output();
  }

  /// Numbers that tracing made tensors are numbers again.
  Value* argument(Node* node, const std::string& name) {
    const c10::IValue constant = constant_argument(node, name);
    if (constant.isTensor() && constant.toTensor().dim() == 0)
      return nodes_.constant(constant.toTensor().item());
    return node->namedInput(name);
  }

  Node* make_same(const Int8Op& op) {
    Value* input = int8(op.node->input(0));
    const Int8Kernel& kernel = *int8_kernel(op.node);
    if (!kernel.kernel.empty()) return nodes_.insert(kernel.kernel, arguments(op));
    if (kernel.op == "aten::mean") {
      if (Node* pooled = nodes_.mean_of_images(input, op.node)) return pooled;
    }
    return graph_->insertNode(graph_->createClone(op.node, [&](Value* value) {
      const auto known = int8_.find(value);
      return known == int8_.end() ? value : known->second;
    }));
  }

  /// Layers that share weights share packed ones. A linear layer's geometry is empty, or that of
  /// the convolution which it becomes.
  Value* packed_weight(const Int8Op& op, const ConvGeometry& geometry) {
    const Layer& layer = *op.layer;
    const at::Tensor& bias = scheme_.biases.at(op.node);
    const PackKey key{*layer.weight,    bias.unsafeGetTensorImpl(), geometry.stride,
                      geometry.padding, geometry.dilation,          geometry.groups};
    if (!packed_.count(key)) {
      const c10::IValue packed = pack(layer, bias, geometry);
      packed_[key] = model_.add_attribute(layer.name + ".packed", packed.type(), packed);
    }
    return insert_attribute(*graph_, model_, packed_.at(key));
  }

  c10::IValue pack(const Layer& layer, const at::Tensor& bias, const ConvGeometry& geometry) const {
    QuantizedWeight weight = scheme_.weights.at(*layer.weight);
    try {
      if (geometry.stride.empty()) return pack_linear(weight, bias);
      if (layer.kind == LayerKind::kLinear)
        weight.values = weight.values.reshape({weight.values.size(0), -1, 1, 1});
      return pack_conv(weight, bias, geometry);
    } catch (const Error& error) {
      throw Error(error.code(), "layer '" + layer.name + "': " + error.what(), error.hint());
    }
  }

  /// The INT8 form of a value: made by an op of the plan, or quantized where the value is made.
  Value* int8(Value* value) {
    const auto known = int8_.find(value);
    if (known != int8_.end()) return known->second;
    const torch::jit::WithInsertPoint guard(place_behind(value));
    return int8_[value] = nodes_.quantize(value, scheme_.ranges.at(value));
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
      output->replaceAllUsesWith(nodes_.dequantize(quantized, output, *scheme_.range_of(output)));
    }
    Node* list = op.form == Int8Form::kCat ? op.node->input(0)->node() : nullptr;
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
      Node* reshape = nodes_.insert("aten::reshape", {view->input(0), view->input(1)});
      view->output()->replaceAllUsesWith(reshape->output());
      view->destroy();
    }
  }

  using PackKey = std::tuple<std::string, const c10::TensorImpl*, std::vector<std::int64_t>,
                             std::vector<std::int64_t>, std::vector<std::int64_t>, std::int64_t>;
  Model& model_;
  const ShapeMap shapes_;  // of the float graph, before it is edited
  std::shared_ptr<Graph> graph_;
  Int8Nodes nodes_;
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
