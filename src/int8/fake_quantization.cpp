#include "int8/fake_quantization.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <unordered_map>
#include <utility>
#include <vector>

#include "model/graph_building.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

class Insertion {
 public:
  Insertion(Model& model, const Int8Scheme& scheme, FakeQuantizationParts& parts)
      : graph_(model.edit()), scheme_(scheme), parts_(parts) {}

  void run() {
    for (const Int8Op& op : scheme_.plan.ops) replace(op);
    torch::jit::EliminateDeadCode(graph_);
  }

 private:
  void replace(const Int8Op& op) {
    round_inputs(op);
    if (op.layer) {
      const torch::jit::WithInsertPoint guard(op.node);
      replace_argument(op.node, "weight", parts_.weight(op));
      replace_argument(op.node, "bias", parts_.bias(op));
    }
    if (op.has_own_range()) {
      const QuantizedRange range = scheme_.ranges.at(op.output());
      const QuantizedGrid grid{range, op.output(), op.activation ? range.zero_point : 0};
      take_over(op, round(op.node->outputs()[0], grid), grid);
      return;
    }
    const Int8Kernel& kernel = *int8_kernel(op.node);
    QuantizedGrid grid = grids_.at(op.node->input(0));
    if (kernel.range) grid = {kernel.range(op.node, grid.range), nullptr};
    if (kernel.numbers == Int8Kernel::Numbers::kRounded) {
      take_over(op, round(op.node->outputs()[0], grid), grid);
    } else {
      for (const Value* output : op.node->outputs()) grids_[output] = grid;
    }
  }

  static void replace_argument(Node* node, const std::string& name, Value* value) {
    const auto index = node->schema().argumentIndexWithName(name);
    node->replaceInput(static_cast<std::size_t>(*index), value);
  }

  void round_inputs(const Int8Op& op) {
    Node* reader = op.form == Int8Form::kCat ? op.node->input(0)->node() : op.node;
    const std::vector<Value*> operands = op.operands();
    for (std::size_t i = 0; i < operands.size(); ++i) reader->replaceInput(i, on_grid(operands[i]));
  }

  /// A value that is on a grid already, or rounded where it is made, for INT8 readers alone.
  Value* on_grid(Value* value) {
    if (grids_.count(value)) return value;
    const auto known = rounded_.find(value);
    if (known != rounded_.end()) return known->second;
    const QuantizedGrid grid{scheme_.ranges.at(value), value};
    const torch::jit::WithInsertPoint guard(place_behind(value));
    Value* result = parts_.round(value, grid);
    grids_[result] = grid;
    return rounded_[value] = result;
  }

  /// After the node that makes it.
  Value* round(Value* value, const QuantizedGrid& grid) {
    const torch::jit::WithInsertPoint guard(value->node()->next());
    return parts_.round(value, grid);
  }

  /// Everybody who read the op's output, or that of its activation, reads `result`.
  void take_over(const Int8Op& op, Value* result, const QuantizedGrid& grid) {
    Value* made = op.node->outputs()[0];
    grids_[result] = grid;
    if (op.activation) {
      op.activation->output()->replaceAllUsesWith(result);
      op.activation->destroy();
    } else {
      made->replaceAllUsesAfterNodeWith(result->node(), result);
    }
  }

  std::shared_ptr<Graph> graph_;
  const Int8Scheme& scheme_;
  FakeQuantizationParts& parts_;
  std::unordered_map<const Value*, QuantizedGrid> grids_;  // of values that are on one
  std::unordered_map<const Value*, Value*> rounded_;       // of float values
};

/// Weights as INT8 attributes, scales as constants.
class StoredParts : public FakeQuantizationParts {
 public:
  StoredParts(Model& model, const Int8Scheme& scheme)
      : model_(model), graph_(*model.edit()), scheme_(scheme) {}

  Value* weight(const Int8Op& op) override {
    const std::string& name = *op.layer->weight;
    auto stored = stored_.find(name);
    if (stored == stored_.end())
      stored = stored_.emplace(name, store_weight(model_, name, scheme_.weights.at(name))).first;
    return insert_dequantized(graph_, model_, stored->second);
  }

  Value* bias(const Int8Op& op) override {
    const at::Tensor& bias = scheme_.biases.at(op.node);
    if (!bias.defined()) return graph_.insertConstant(c10::IValue());
    const std::string name = model_.add_attribute(op.layer->name + ".bias", c10::TensorType::get(),
                                                  bias.detach().to(at::kFloat));
    return insert_attribute(graph_, model_, name);
  }

  Value* round(Value* value, const QuantizedGrid& grid) override {
    return insert_rounding(graph_, value, grid);
  }

 private:
  Model& model_;
  Graph& graph_;
  const Int8Scheme& scheme_;
  std::unordered_map<std::string, StoredWeight> stored_;  // layers may share theirs
};

}  // namespace

void insert_fake_quantization(Model& model, const Int8Scheme& scheme,
                              FakeQuantizationParts& parts) {
  Insertion(model, scheme, parts).run();
}

void simulate_int8(Model& model, const Int8Scheme& scheme) {
  StoredParts parts(model, scheme);
  insert_fake_quantization(model, scheme, parts);
  model.remove_unused_attributes();
}

Value* insert_rounding(Graph& graph, Value* value, const QuantizedGrid& grid) {
  return insert_op(graph, "aten::fake_quantize_per_tensor_affine",
                   {value, graph.insertConstant(grid.range.scale),
                    graph.insertConstant(grid.range.zero_point), graph.insertConstant(grid.lowest),
                    graph.insertConstant(kAffineSteps)})
      ->output();
}

StoredWeight store_weight(Model& model, const std::string& name, const QuantizedWeight& weight) {
  std::vector<std::int64_t> along_axis(static_cast<std::size_t>(weight.values.dim()), 1);
  if (weight.scales.numel() > 1)
    along_axis.at(static_cast<std::size_t>(weight.axis)) = weight.scales.numel();
  const at::Tensor scales = weight.scales.reshape(along_axis).to(at::kFloat);
  const auto type = c10::TensorType::get();
  return {model.add_attribute(name + ".values", type, weight.values),
          model.add_attribute(name + ".scales", type, scales)};
}

Value* insert_dequantized(Graph& graph, const Model& model, const StoredWeight& weight) {
  Value* as_float =
      insert_conversion(graph, insert_attribute(graph, model, weight.values), at::kFloat);
  return insert_op(graph, "aten::mul", {as_float, insert_attribute(graph, model, weight.scales)})
      ->output();
}

}  // namespace edgecompress
