#include "train/int8_base.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <fmt/format.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <optional>
#include <utility>

#include "int8/int8_record.h"
#include "int8/quantized.h"
#include "int8/weight_only.h"
#include "model/counterparts.h"
#include "model/graph_building.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "util/text.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

constexpr const char* kPackedLinear = "quantized::linear_dynamic";
constexpr const char* kPackedLinearRelu = "quantized::linear_relu_dynamic";

bool stops_gradients(const Node* node) {
  const std::string op = op_of(node);
  const bool has_stand_in = op == kPackedLinear || op == kPackedLinearRelu;
  return (is_int8_op(op) && !has_stand_in) || op == "aten::quantize_per_tensor" ||
         op == "aten::dequantize";
}

/// What a value is that hangs on attributes alone; undefined for another.
at::Tensor value_of_weight(const Model& model, const Value* value) {
  const auto graph = model.module().get_method("forward").graph()->copy();
  Value* copy = const_cast<Value*>(Counterparts(model.graph(), *graph).of(value));
  while (!graph->outputs().empty()) graph->eraseOutput(graph->outputs().size() - 1);
  graph->registerOutput(copy);
  torch::jit::EliminateDeadCode(graph);
  while (graph->inputs().size() > 1) {
    if (graph->inputs().back()->hasUses()) return {};
    graph->eraseInput(graph->inputs().size() - 1);
  }
  return Interpreter(*graph, model.module()._ivalue()).run({}).at(0).toTensor();
}

/// The attributes of a weight in the forms of weight_only.h and fake_quantization.h.
struct StoredInt8 {
  at::Tensor values, scales, zeros;

  bool has_nibbles() const { return zeros.defined(); }
  std::int64_t columns() const { return values.size(1) * (has_nibbles() ? 2 : 1); }
  std::int64_t groups() const { return scales.numel() > 1 ? scales.size(1) : 1; }
  at::Tensor to_float() const {
    at::Tensor numbers = values;
    if (has_nibbles()) numbers = at::cat({values.bitwise_and(15), values.__rshift__(4)}, 1);
    numbers = numbers.to(at::kFloat);
    if (scales.numel() == 1) return numbers * scales.to(at::kFloat);
    numbers = numbers.reshape({values.size(0), groups(), -1});
    if (has_nibbles()) numbers = numbers - zeros.to(at::kFloat).unsqueeze(-1);
    return (numbers * scales.to(at::kFloat).unsqueeze(-1)).reshape({values.size(0), columns()});
  }
};

std::optional<StoredInt8> stored_int8(const Model& model, const std::vector<std::string>& names) {
  if (names.size() < 2 || names.size() > 3) return std::nullopt;
  for (const std::string& name : names) {
    if (!model.attribute(name).isTensor()) return std::nullopt;
  }
  StoredInt8 stored{model.tensor(names[0]), model.tensor(names[1]),
                    names.size() == 3 ? model.tensor(names[2]) : at::Tensor()};
  const auto type = stored.has_nibbles() ? at::kByte : at::kChar;
  const bool is_form =
      stored.values.dim() == 2 && stored.values.scalar_type() == type &&
      stored.scales.is_floating_point() &&
      (stored.scales.numel() == 1 ||
       (stored.scales.dim() == 2 && stored.scales.size(0) == stored.values.size(0) &&
        stored.columns() % stored.scales.size(1) == 0)) &&
      (!stored.has_nibbles() || stored.zeros.sizes() == stored.scales.sizes());
  return is_form ? std::optional(stored) : std::nullopt;
}

/// Values, scales and zeros behind a weight, in this order.
std::vector<std::string> attributes_behind(const Model& model, const Layer& layer) {
  std::vector<std::string> names;
  for (const std::string& name : layer.weights) {
    if (name != layer.bias.value_or("")) names.push_back(name);
  }
  const auto is_scale = [&](const std::string& name) {
    return model.attribute(name).isTensor() && model.tensor(name).is_floating_point();
  };
  // The graph reads the zeros of nibbles before the scales.
  if (names.size() == 3 && is_scale(names[2])) std::swap(names[1], names[2]);
  return names;
}

std::string layer_of_values(const std::string& name) {
  for (const char* suffix : {"_weight_values", ".values", "_values"}) {
    const std::size_t length = std::string(suffix).size();
    if (name.size() > length && name.compare(name.size() - length, length, suffix) == 0) {
      return name.substr(0, name.size() - length);
    }
  }
  return name;
}

/// Weight and bias of packed parameters.
std::pair<at::Tensor, c10::IValue> unpack_linear(const c10::IValue& packed) {
  torch::jit::Stack stack{packed};
  c10::Dispatcher::singleton().findSchemaOrThrow("quantized::linear_unpack", "").callBoxed(&stack);
  return {stack.at(0).toTensor(), stack.at(1)};
}

/// Of the two ranges, the one that was used.
std::int64_t largest_of(const at::Tensor& values) {
  const auto largest = values.to(at::kInt).abs().max().item<std::int64_t>();
  return largest <= kReducedWeightRange ? kReducedWeightRange : kFullWeightRange;
}

void replace_packed(Model& model, const std::string& name, const c10::IValue& packed) {
  torch::jit::Module owner = model.module();
  const std::vector<std::string> parts = split(name, '.');
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) owner = owner.attr(parts[i]).toModule();
  owner.setattr(parts.back(), packed);
}

/// The ReLU of a packed layer apart from it, so that an adapter can come between.
Node* split_relu(torch::jit::Graph& graph, Node* node) {
  const torch::jit::WithInsertPoint guard(node);
  Node* linear = insert_op(graph, kPackedLinear, node->inputs().vec());
  Node* relu = insert_op(graph, "aten::relu", {linear->output()});
  node->output()->replaceAllUsesWith(relu->output());
  node->destroy();
  return linear;
}

}  // namespace

std::string gradient_obstacle(const Model& model) {
  for (const Layer& layer : find_layers(model)) {
    if (layer.node->hasUses() && stops_gradients(layer.node)) {
      return fmt::format("{} (layer {})", op_of(layer.node), layer.name);
    }
  }
  for (const Node* node : model.graph().nodes()) {
    if (node->hasUses() && stops_gradients(node)) return op_of(node);
  }
  return "";
}

Int8Base::Int8Base(Model& model) : model_(model), edits_(model) {
  if (model.has_attribute(kInt8RecordAttribute)) record_ = model.attribute(kInt8RecordAttribute);
  for (const Layer& layer : find_layers(model)) {
    const std::string op = op_of(layer.node);
    if (op == kPackedLinear) {
      stand_in_for_packed(layer.node, layer.name);
    } else if (op == kPackedLinearRelu) {
      stand_in_for_packed(split_relu(*model.edit(), layer.node), layer.name);
    } else if (op == "aten::linear" && !layer.weight) {
      stand_in_for_stored(layer.node, layer.name, attributes_behind(model, layer));
    }
  }
}

Int8Base::~Int8Base() {
  if (weights_.empty()) return;
  edits_.undo();
  model_.remove_unused_attributes();
  // No graph reads it, so it went with the float weights.
  if (!record_.isNone() && !model_.has_attribute(kInt8RecordAttribute)) {
    model_.add_attribute(kInt8RecordAttribute, c10::StringType::get(), record_);
  }
}

/// Layers that share an INT8 weight share the float one.
std::string Int8Base::float_weight_of(Weight weight, const at::Tensor& value) {
  for (const Weight& known : weights_) {
    if (known.packed == weight.packed && known.values == weight.values) return known.weight;
  }
  weight.weight = model_.add_parameter(weight.layer + ".float_weight", value);
  weight.original = value;
  layers_.emplace(weight.weight, weight.layer);
  weights_.push_back(weight);
  return weights_.back().weight;
}

void Int8Base::stand_in_for_packed(Node* node, const std::string& layer) {
  const std::string packed = attribute_path(node->input(1));
  if (packed.empty()) return;
  const auto [weight, bias] = unpack_linear(model_.attribute(packed));
  Weight entry;
  entry.layer = layer;
  entry.packed = packed;
  Value* w = edits_.read(float_weight_of(entry, weight.dequantize()));
  Node* behind = node->next();
  Value* b = edits_.constant(behind, bias);
  edits_.replace_output(node->output(),
                        edits_.insert(behind, "aten::linear", {node->input(0), w, b}));
}

void Int8Base::stand_in_for_stored(Node* node, const std::string& layer,
                                   const std::vector<std::string>& attributes) {
  const auto stored = stored_int8(model_, attributes);
  if (!stored) return;
  const at::Tensor value = stored->to_float();
  const at::Tensor computed = value_of_weight(model_, node->input(1));
  if (!computed.defined() || !computed.equal(value)) return;  // it is another form
  Weight entry;
  entry.layer = layer_of_values(layer);
  entry.values = attributes[0];
  entry.scales = attributes[1];
  if (stored->has_nibbles()) entry.zeros = attributes[2];
  edits_.replace_input(node, 1, edits_.read(float_weight_of(entry, value)));
}

std::vector<Int8Base::Requantized> Int8Base::requantize() {
  const at::NoGradGuard no_grad;
  std::vector<Requantized> rows;
  for (const Weight& weight : weights_) {
    const at::Tensor value = model_.tensor(weight.weight).detach();
    if (value.equal(weight.original)) continue;
    rows.push_back(weight.packed.empty() ? store(weight, value) : pack(weight, value));
  }
  return rows;
}

Int8Base::Requantized Int8Base::store(const Weight& weight, const at::Tensor& value) {
  StoredInt8 stored{model_.tensor(weight.values), model_.tensor(weight.scales),
                    weight.zeros.empty() ? at::Tensor() : model_.tensor(weight.zeros)};
  Requantized row{weight.layer, "", 0};
  const bool is_portable = stored.groups() == 1 && stored.scales.scalar_type() == at::kFloat;
  if (is_portable && !stored.has_nibbles()) {
    WeightScheme scheme;
    scheme.per_channel = stored.scales.numel() > 1;
    scheme.largest = largest_of(stored.values);
    const QuantizedWeight rounded = quantize_weight(value, scheme);
    stored.values = rounded.values;
    stored.scales = rounded.scales.to(stored.scales.scalar_type()).reshape(stored.scales.sizes());
    row.form = scheme.per_channel ? "8 bits, a scale a row" : "8 bits, one scale";
  } else {
    WeightOnlyOptions options;
    options.bits = stored.has_nibbles() ? 4 : 8;
    options.group_size = stored.columns() / stored.groups();
    const RoundingGrid grid = weight_only_grid(value, options);
    const at::Tensor q = round_to_nearest(value, grid);
    const at::Tensor halves = grid.scales.to(at::kHalf);
    const bool are_halves = halves.to(at::kDouble).equal(grid.scales);
    stored.scales = are_halves ? halves : grid.scales.to(at::kFloat);
    if (stored.has_nibbles()) {
      const std::int64_t half = stored.columns() / 2;
      const at::Tensor numbers = q.to(at::kByte);
      stored.values = numbers.slice(1, 0, half) + numbers.slice(1, half) * 16;
      stored.zeros = grid.zeros.to(at::kByte);
      model_.set_tensor(weight.zeros, stored.zeros);
    } else {
      stored.values = q.to(at::kChar);
    }
    row.form = fmt::format("{} bits, groups of {}", options.bits, options.group_size);
  }
  model_.set_tensor(weight.values, stored.values);
  model_.set_tensor(weight.scales, stored.scales);
  row.largest_error = (stored.to_float() - value).abs().max().item<double>();
  return row;
}

Int8Base::Requantized Int8Base::pack(const Weight& weight, const at::Tensor& value) {
  const auto [before, bias] = unpack_linear(model_.attribute(weight.packed));
  WeightScheme scheme;
  scheme.per_channel = before.qscheme() == at::kPerChannelAffine;
  scheme.largest = largest_of(before.int_repr());
  const QuantizedWeight rounded = quantize_weight(value, scheme);
  replace_packed(model_, weight.packed,
                 pack_linear(rounded, bias.isTensor() ? bias.toTensor() : at::Tensor()));
  return {weight.layer, scheme.per_channel ? "packed, a scale a row" : "packed, one scale",
          (dequantize(rounded) - value).abs().max().item<double>()};
}

}  // namespace edgecompress
