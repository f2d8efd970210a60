#include "int8/int8_scheme.h"

#include <algorithm>
#include <set>

#include "edgecompress/error.h"
#include "model/counterparts.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

bool takes_a_part(const Node* node) {
  static const std::set<std::string> ops = {"aten::slice", "aten::select", "aten::narrow",
                                            "prim::ListUnpack"};
  return ops.count(op_of(node)) > 0;
}

/// Of a value that one node reads: the op that gave it its range, if that range can be another.
const Int8Op* maker_of(const Int8Plan& plan, const Value* value, QuantizedRange other) {
  const auto made = std::find_if(plan.ops.begin(), plan.ops.end(),
                                 [&](const Int8Op& op) { return op.output() == value; });
  if (made == plan.ops.end() || value->uses().size() != 1) return nullptr;
  if (made->form == Int8Form::kSame) {
    // What is averaged may lie beyond the averages' range, and so may what the other parts of a
    // split read.
    const Int8Kernel& kernel = *int8_kernel(made->node);
    const bool moves_all = kernel.numbers == Int8Kernel::Numbers::kMoved && !kernel.range &&
                           made->node->outputs().size() == 1 && !takes_a_part(made->node);
    return moves_all ? maker_of(plan, made->node->input(0), other) : nullptr;
  }
  // A clamp is carried out by the range: above by its own alone, at zero by one that starts there.
  const bool clamps =
      made->activation && (op_of(made->activation) != "aten::relu" || other.zero_point != 0);
  return clamps ? nullptr : &*made;
}

}  // namespace

std::optional<QuantizedRange> Int8Scheme::range_of(const Value* value) const {
  const auto own = ranges.find(value);
  if (own != ranges.end()) return own->second;
  const auto made = std::find_if(plan.ops.begin(), plan.ops.end(), [&](const Int8Op& op) {
    return op.form == Int8Form::kSame && op.node == value->node();
  });
  if (made == plan.ops.end()) return std::nullopt;
  const auto input = range_of(made->node->input(0));
  const auto follows = int8_kernel(made->node)->range;
  return input && follows ? follows(made->node, *input) : input;
}

Int8Scheme Int8Scheme::on(const Model& clone) const {
  Int8Scheme copy;
  copy.plan = plan;
  const Node* any = !plan.ops.empty()            ? plan.ops[0].node
                    : !plan.float_layers.empty() ? plan.float_layers[0].node
                                                 : nullptr;
  if (!any) return copy;
  const Counterparts counterparts(*any->owningGraph(), clone.graph());
  for (Int8Layer& layer : copy.plan.float_layers) layer.node = counterparts.of(layer.node);
  for (Int8Op& op : copy.plan.ops) {
    op.node = counterparts.of(op.node);
    op.activation = counterparts.of(op.activation);
    if (op.layer) op.layer->node = op.node;
  }
  for (const Value*& value : copy.plan.measured) value = counterparts.of(value);
  for (const auto& [value, range] : ranges) copy.ranges.emplace(counterparts.of(value), range);
  copy.weights = weights;
  for (const auto& [node, bias] : biases) copy.biases.emplace(counterparts.of(node), bias);
  return copy;
}

Int8Scheme Int8Scheme::without(Model& model, const LayerRefusal& refusal) const {
  Int8Scheme less = *this;
  less.plan = plan_static_int8(model, refusal,
                               [this](const Value* value) { return range_of(value).has_value(); });
  less.ranges.clear();
  for (const Value* value : less.plan.measured) less.ranges.emplace(value, *range_of(value));
  return less;
}

void quantize_weights(Int8Scheme& scheme, const Model& model, const WeightScheme& weights) {
  std::set<std::string> per_tensor;  // layers that share a weight take it as one of them must
  for (const Int8Op& op : scheme.plan.ops) {
    if (op.form == Int8Form::kConvTransposed) per_tensor.insert(*op.layer->weight);
  }
  for (const Int8Op& op : scheme.plan.ops) {
    if (!op.layer) continue;
    const Layer& layer = *op.layer;
    scheme.biases[op.node] = layer.bias ? model.tensor(*layer.bias) : at::Tensor();
    if (scheme.weights.count(*layer.weight)) continue;
    try {
      WeightScheme fitting = weights;
      if (per_tensor.count(*layer.weight)) fitting.per_channel = false;
      scheme.weights[*layer.weight] = quantize_weight(model.tensor(*layer.weight), fitting);
    } catch (const Error& error) {
      throw Error(error.code(), "layer '" + layer.name + "': " + error.what(), error.hint());
    }
  }
}

void share_ranges_with_concatenations(Int8Scheme& scheme) {
  const auto& ops = scheme.plan.ops;
  for (auto op = ops.rbegin(); op != ops.rend(); ++op) {
    if (op->form != Int8Form::kCat) continue;
    const QuantizedRange range = scheme.ranges.at(op->output());
    for (const Value* operand : op->operands()) {
      if (const Int8Op* maker = maker_of(scheme.plan, operand, range))
        scheme.ranges[maker->output()] = range;
    }
  }
}

}  // namespace edgecompress
