#include "channels/scale_flow.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "model/interpreter.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

using IValues = c10::ArrayRef<c10::IValue>;

/// Every tensor of one run, with the cell of each element in the place of the number.
class ScaleFollower {
 public:
  explicit ScaleFollower(const Model& model) : model_(model) {
    fixed_ = flow_.sets.make(1);
    flow_.sets.fix(fixed_, "it is not made by a layer");
    for (Layer& layer : find_layers(model)) {
      if (layer.bias && model.attribute(*layer.bias).isNone()) layer.bias.reset();
      layers_.emplace(layer.node, std::move(layer));
    }
  }

  ScaleFlow run() {
    const at::NoGradGuard no_grad;
    const auto example = model_.example_inputs(/*batch_size=*/1);
    const Interpreter interpreter(model_);
    interpreter.run(
        {example.begin(), example.end()},
        [this](const Node& node, IValues inputs, IValues outputs) { see(node, inputs, outputs); });
    for (const Value* output : model_.graph().outputs()) fix(output, "it is an output");
    fix_weights_with_other_readers();
    return std::move(flow_);
  }

 private:
  using Rule = void (ScaleFollower::*)(const Node&, IValues, IValues);

  static const std::map<std::string, Rule>& rules() {
    static const std::map<std::string, Rule> all = [] {
      std::map<std::string, Rule> rules;
      const auto add = [&](Rule rule, std::initializer_list<const char*> ops) {
        for (const char* op : ops) rules[op] = rule;
      };
      add(&ScaleFollower::keep, {"aten::relu", "aten::leaky_relu", "aten::prelu", "aten::dropout",
                                 "aten::feature_dropout", "aten::contiguous", "aten::abs"});
      add(&ScaleFollower::move, {"prim::ListConstruct",
                                 "prim::ListUnpack",
                                 "aten::cat",
                                 "aten::flatten",
                                 "aten::view",
                                 "aten::reshape",
                                 "aten::permute",
                                 "aten::transpose",
                                 "aten::slice",
                                 "aten::select",
                                 "aten::squeeze",
                                 "aten::unsqueeze",
                                 "aten::narrow",
                                 "aten::expand",
                                 "aten::chunk",
                                 "aten::split",
                                 "aten::split_with_sizes",
                                 "aten::unbind",
                                 "aten::stack",
                                 "aten::channel_shuffle"});
      add(&ScaleFollower::make_list, {"prim::ListConstruct"});
      add(&ScaleFollower::take_list_apart, {"prim::ListUnpack"});
      add(&ScaleFollower::pool,
          {"aten::max_pool1d", "aten::max_pool2d", "aten::max_pool3d", "aten::avg_pool1d",
           "aten::avg_pool2d", "aten::avg_pool3d", "aten::adaptive_avg_pool1d",
           "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d", "aten::upsample_nearest1d",
           "aten::upsample_nearest2d", "aten::upsample_nearest3d", "aten::upsample_bilinear2d"});
      add(&ScaleFollower::mean, {"aten::mean", "aten::sum"});
      add(&ScaleFollower::pad, {"aten::pad", "aten::constant_pad_nd"});
      add(&ScaleFollower::add, {"aten::add", "aten::sub"});
      add(&ScaleFollower::multiply, {"aten::mul"});
      add(&ScaleFollower::layer_norm, {"aten::layer_norm"});
      for (const char* op : {"aten::size", "aten::dim", "aten::len", "aten::numel"})
        rules[op] = nullptr;  // tell nothing of the numbers
      return rules;
    }();
    return all;
  }

  void see(const Node& node, IValues inputs, IValues outputs) {
    const bool is_straight = node.owningBlock() == model_.graph().block() &&
                             node.blocks().empty() &&
                             std::none_of(node.outputs().begin(), node.outputs().end(), is_written);
    const auto layer = layers_.find(&node);
    if (is_straight && layer != layers_.end() && is_scalable(layer->second)) {
      follow_layer(layer->second, inputs, outputs[0].toTensor());
      return;
    }
    const auto rule = rules().find(op_of(&node));
    // Sizes are added and multiplied by ops of the same names.
    const bool makes_tensors =
        !outputs.empty() && (outputs[0].isTensor() || outputs[0].isTensorList());
    if (!is_straight || rule == rules().end()) {
      fix_inputs(node);
    } else if (rule->second != nullptr && makes_tensors) {
      (this->*rule->second)(node, inputs, outputs);
    }
  }

  bool is_scalable(const Layer& layer) const {
    const bool is_plain = layer.kind == LayerKind::kConv || layer.kind == LayerKind::kLinear ||
                          layer.kind == LayerKind::kConvTransposed;
    return is_plain && layer.weight && model_.tensor(*layer.weight).is_floating_point() &&
           op_of(layer.node).rfind("aten::", 0) == 0;
  }

  // The cells of values.

  /// Of the sizes of `actual`; what no rule made is fixed.
  at::Tensor cells_of(const Value* value, const at::Tensor& actual) const {
    const auto known = cells_.find(value);
    if (known != cells_.end()) return known->second.toTensor();
    return at::full({}, fixed_, at::kInt).expand(actual.sizes());
  }
  void set(const Value* value, const at::Tensor& cells) { cells_[value] = cells; }

  void fix(const at::Tensor& cells, const std::string& reason) {
    const auto [unique, inverse] = at::_unique(cells);
    const auto* numbers = unique.contiguous().data_ptr<Cell>();
    for (std::int64_t i = 0; i < unique.numel(); ++i) flow_.sets.fix(numbers[i], reason);
  }
  void fix(const Value* value, const std::string& reason) {
    const auto known = cells_.find(value);
    if (known == cells_.end()) return;
    if (known->second.isTensor()) return fix(known->second.toTensor(), reason);
    for (const at::Tensor& tensor : known->second.toTensorVector()) fix(tensor, reason);
  }
  void fix_inputs(const Node& node) {
    for (const Value* input : node.inputs()) fix(input, op_of(&node) + " reads it");
  }

  void unite(const at::Tensor& a, const at::Tensor& b) {
    const auto different = a.ne(b);
    if (!different.any().item<bool>()) return;
    const at::Tensor left = a.expand(different.sizes()).masked_select(different);
    const at::Tensor right = b.expand(different.sizes()).masked_select(different);
    for (std::int64_t i = 0; i < left.numel(); ++i)
      flow_.sets.unite(left.data_ptr<Cell>()[i], right.data_ptr<Cell>()[i]);
  }
  /// All along the dimensions hang together from now on; they are left with size 1.
  at::Tensor collapse(at::Tensor cells, const std::vector<std::int64_t>& dims) {
    for (const std::int64_t dim : dims) {
      const at::Tensor first = cells.narrow(dim, 0, std::min<std::int64_t>(cells.size(dim), 1));
      unite(cells, first);
      cells = first;
    }
    return cells;
  }
  /// The cell of each position along `dim`, all others united.
  at::Tensor along(const at::Tensor& cells, std::int64_t dim) {
    std::vector<std::int64_t> others;
    for (std::int64_t i = 0; i < cells.dim(); ++i) {
      if (i != dim) others.push_back(i);
    }
    return collapse(cells, others).flatten().contiguous();
  }
  at::Tensor make_cells(std::int64_t count) {
    const Cell first = flow_.sets.make(count);
    return at::arange(first, first + count, at::kInt);
  }
  static at::Tensor spread(const at::Tensor& cells, std::int64_t dim, at::IntArrayRef sizes) {
    std::vector<std::int64_t> shape(sizes.size(), 1);
    shape[static_cast<std::size_t>(dim)] = cells.numel();
    return cells.reshape(shape).expand(sizes);
  }

  // Layers.

  void follow_layer(const Layer& layer, IValues inputs, const at::Tensor& output) {
    const at::Tensor weight = model_.tensor(*layer.weight);
    const bool is_linear = layer.kind == LayerKind::kLinear;
    const std::int64_t dim = output.dim() - (is_linear ? 1 : weight.dim() - 1);
    const at::Tensor input = inputs[0].toTensor();
    const at::Tensor read = along(cells_of(layer.node->input(0), input), dim);
    flow_.read[layer.node] = read;
    const at::Tensor made = made_by(layer, weight, read, output.size(dim));
    set(layer.node->output(), spread(made, dim, output.sizes()));
    if (layer.bias) {
      follow_vector(*layer.bias, made);
    } else if (!is_none(inputs[2])) {
      fix(made, "the bias of '" + layer.name + "' is computed in the graph");
    }
    for (const char* argument : {"weight", "bias"})
      readers_.insert(layer.node->namedInput(argument));
  }

  static bool is_none(const c10::IValue& value) { return value.isNone(); }

  /// The cells of the layer's outputs; those of its kernels are noted.
  at::Tensor made_by(const Layer& layer, const at::Tensor& weight, const at::Tensor& read,
                     std::int64_t channels) {
    const std::int64_t first = weight.size(0), second = weight.size(1);
    const bool is_transposed = layer.kind == LayerKind::kConvTransposed;
    const std::int64_t groups = (is_transposed ? channels : read.numel()) / second;
    // Dimension 0 are the channels of all groups, dimension 1 those of a group.
    const auto in_rows = [&](const at::Tensor& cells) {
      return cells.unsqueeze(1).expand({first, second});
    };
    const auto in_columns = [&](const at::Tensor& cells) {
      return cells.reshape({groups, 1, second})
          .expand({groups, first / groups, second})
          .reshape({first, second});
    };
    const auto known =
        std::find_if(flow_.weights.begin(), flow_.weights.end(),
                     [&](const auto& other) { return other.weight == *layer.weight; });
    const at::Tensor reads = is_transposed ? in_rows(read) : in_columns(read);
    if (known == flow_.weights.end()) {
      const at::Tensor made = make_cells(channels);
      flow_.weights.push_back(
          {layer.name, *layer.weight, is_transposed ? in_columns(made) : in_rows(made), reads});
      return made;
    }
    unite(known->inputs, reads);
    return is_transposed
               ? known->outputs.reshape({groups, -1, second}).select(1, 0).flatten().contiguous()
               : known->outputs.select(1, 0).contiguous();
  }

  void follow_vector(const std::string& tensor, const at::Tensor& cells) {
    const auto known = std::find_if(flow_.vectors.begin(), flow_.vectors.end(),
                                    [&](const auto& other) { return other.tensor == tensor; });
    if (known == flow_.vectors.end()) {
      flow_.vectors.push_back({tensor, cells});
    } else {
      unite(known->cells, cells);
    }
  }

  /// Its weight and bias can scale what it makes; what it reads stays as it is.
  void layer_norm(const Node& node, IValues inputs, IValues outputs) {
    fix_inputs(node);
    const auto layer = layers_.find(&node);
    const bool is_affine = layer != layers_.end() && layer->second.weight && inputs[2].isTensor() &&
                           inputs[2].toTensor().dim() == 1 && layer->second.bias;
    if (!is_affine) return;
    const at::Tensor output = outputs[0].toTensor();
    const at::Tensor made = make_cells(output.size(-1));
    set(node.output(), spread(made, output.dim() - 1, output.sizes()));
    follow_vector(*layer->second.weight, made);
    follow_vector(*layer->second.bias, made);
    readers_.insert(node.input(2));
    readers_.insert(node.input(3));
  }

  /// A weight or bias that anything but its layers reads can't be scaled.
  void fix_weights_with_other_readers() {
    const std::string reason = "its weights are read elsewhere too";
    std::map<std::string, std::int64_t> reads, as_layer;
    count_reads(model_.graph().block(), reads, as_layer);
    const auto is_shared = [&](const std::string& name) { return reads[name] != as_layer[name]; };
    for (const ScaledWeight& weight : flow_.weights) {
      if (!is_shared(weight.weight)) continue;
      fix(weight.outputs, reason);
      fix(weight.inputs, reason);
    }
    for (const ScaledVector& vector : flow_.vectors) {
      if (is_shared(vector.tensor)) fix(vector.cells, reason);
    }
  }
  void count_reads(const torch::jit::Block* block, std::map<std::string, std::int64_t>& reads,
                   std::map<std::string, std::int64_t>& as_layer) const {
    for (const Node* node : block->nodes()) {
      for (const torch::jit::Block* nested : node->blocks()) count_reads(nested, reads, as_layer);
      const auto layer = layers_.find(node);
      const bool is_followed = flow_.read.count(node) > 0 ||
                               (op_of(node) == "aten::layer_norm" && layer != layers_.end());
      for (std::size_t i = 0; i < node->inputs().size(); ++i) {
        const Value* input = node->inputs()[i];
        if (node->kind() == c10::prim::GetAttr) continue;
        const std::string path = attribute_path(input);
        if (path.empty()) continue;
        ++reads[path];
        const bool is_its = is_followed && readers_.count(input) > 0 &&
                            (path == layer->second.weight || path == layer->second.bias);
        as_layer[path] += is_its;
      }
    }
  }

  // Other ops.

  void keep(const Node& node, IValues inputs, IValues) {
    set(node.output(), cells_of(node.input(0), inputs[0].toTensor()));
  }

  /// The op itself, run on the cells.
  void move(const Node& node, IValues inputs, IValues) {
    torch::jit::Stack stack;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto known = cells_.find(node.inputs()[i]);
      if (known != cells_.end()) {
        stack.push_back(known->second);
      } else if (inputs[i].isTensor()) {
        stack.push_back(cells_of(node.inputs()[i], inputs[i].toTensor()));
      } else if (inputs[i].isTensorList()) {
        return fix_inputs(node);
      } else {
        stack.push_back(inputs[i]);
      }
    }
    if (op_of(&node) == "aten::view") stack[0] = stack[0].toTensor().contiguous();
    node.getOperation()(stack);
    cells_[node.output()] = stack.back();
  }
  void make_list(const Node& node, IValues inputs, IValues outputs) {
    if (!outputs[0].isTensorList()) return;
    std::vector<at::Tensor> cells;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      cells.push_back(cells_of(node.input(i), inputs[i].toTensor()));
    cells_[node.output()] = cells;
  }
  void take_list_apart(const Node& node, IValues, IValues) {
    const auto known = cells_.find(node.input());
    if (known == cells_.end()) return;
    const std::vector<at::Tensor> cells = known->second.toTensorVector();
    for (std::size_t i = 0; i < cells.size(); ++i) set(node.outputs()[i], cells[i]);
  }

  /// Mixes what lies behind the channel dimension.
  void pool(const Node& node, IValues inputs, IValues outputs) {
    const at::Tensor output = outputs[0].toTensor();
    const std::int64_t spatial = op_of(&node).find("1d") != std::string::npos   ? 1
                                 : op_of(&node).find("2d") != std::string::npos ? 2
                                                                                : 3;
    std::vector<std::int64_t> dims;
    for (std::int64_t i = output.dim() - spatial; i < output.dim(); ++i) dims.push_back(i);
    const at::Tensor cells = cells_of(node.input(0), inputs[0].toTensor());
    set(node.output(), collapse(cells, dims).expand(output.sizes()));
  }

  void mean(const Node& node, IValues inputs, IValues outputs) {
    if (inputs.size() < 3 || !inputs[1].isIntList()) return fix_inputs(node);
    const at::Tensor input = inputs[0].toTensor();
    std::vector<std::int64_t> dims = inputs[1].toIntVector();
    for (std::int64_t& dim : dims) dim = dim < 0 ? dim + input.dim() : dim;
    set(node.output(),
        collapse(cells_of(node.input(0), input), dims).reshape(outputs[0].toTensor().sizes()));
  }

  /// Channels of zeros are of any scale.
  void pad(const Node& node, IValues inputs, IValues outputs) {
    const at::Tensor input = inputs[0].toTensor(), output = outputs[0].toTensor();
    const c10::IValue value = constant_argument(&node, "value");
    const bool is_zero = value.isNone() || (value.isScalar() && value.toScalar().toDouble() == 0);
    const std::vector<std::int64_t> padding = inputs[1].toIntVector();
    if (!is_zero || input.dim() < 2) return fix_inputs(node);
    const at::Tensor channels = along(cells_of(node.input(0), input), 1);
    const auto of_channels = static_cast<std::size_t>(2 * (input.dim() - 2));
    if (padding.size() > of_channels + 2) return fix_inputs(node);
    if (padding.size() <= of_channels)
      return set(node.output(), spread(channels, 1, output.sizes()));
    const std::int64_t before = padding[of_channels], after = padding[of_channels + 1];
    if (before < 0 || after < 0) return fix_inputs(node);
    set(node.output(),
        spread(at::cat({make_cells(before), channels, make_cells(after)}), 1, output.sizes()));
  }

  void add(const Node& node, IValues inputs, IValues outputs) {
    if (!inputs[0].isTensor() || !inputs[1].isTensor()) return fix_inputs(node);
    const at::Tensor a = cells_of(node.input(0), inputs[0].toTensor());
    unite(a, cells_of(node.input(1), inputs[1].toTensor()));
    set(node.output(), a.expand(outputs[0].toTensor().sizes()));
  }

  /// One factor may be scaled, the other then stays as it is.
  void multiply(const Node& node, IValues inputs, IValues outputs) {
    const auto sizes = outputs[0].toTensor().sizes();
    std::size_t scaled = 0;
    if (inputs[0].isTensor() && inputs[1].isTensor()) {
      const auto numel = [&](std::size_t i) { return inputs[i].toTensor().numel(); };
      scaled = cells_.count(node.input(0)) > 0 && numel(0) >= numel(1) ? 0 : 1;
      fix(node.input(1 - scaled), "aten::mul reads it");
    } else if (!inputs[0].isTensor()) {
      return;
    }
    set(node.output(), cells_of(node.input(scaled), inputs[scaled].toTensor()).expand(sizes));
  }

  const Model& model_;
  ScaleFlow flow_;
  Cell fixed_ = 0;
  std::unordered_map<const Node*, Layer> layers_;
  std::unordered_map<const Value*, c10::IValue> cells_;
  std::set<const Value*> readers_;  // weights and biases, as followed layers read them
};

}  // namespace

ScaleFlow find_scale_flow(const Model& model) {
  return model.inputs().empty() ? ScaleFlow() : ScaleFollower(model).run();
}

at::Tensor ScaleFlow::free_cells(const at::Tensor& cells) {
  const at::Tensor numbers = at::empty(cells.sizes(), at::kLong);
  const at::Tensor flat = cells.contiguous();
  const Cell* from = flat.data_ptr<Cell>();
  auto* to = numbers.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < cells.numel(); ++i) {
    const Cell root = sets.find(from[i]);
    to[i] = sets.is_fixed(root) ? -1 : numbers_.emplace(root, free_count()).first->second;
  }
  return numbers;
}

void scale_channels(Model& model, ScaleFlow& flow, const at::Tensor& factors) {
  const at::NoGradGuard no_grad;
  // The factor of -1, the last, is 1.
  const at::Tensor all = at::cat({factors.to(at::kDouble), at::ones({1}, at::kDouble)});
  const auto factor_of = [&](const at::Tensor& cells) {
    const at::Tensor numbers = flow.free_cells(cells);
    return all.take(at::where(numbers < 0, at::full_like(numbers, all.numel() - 1), numbers));
  };
  const auto write = [&](const std::string& name, const at::Tensor& values) {
    model.set_tensor(name, values.to(model.tensor(name).scalar_type()));
  };
  for (const ScaledWeight& scaled : flow.weights) {
    const at::Tensor weight = model.tensor(scaled.weight);
    auto shape = scaled.outputs.sizes().vec();
    shape.resize(static_cast<std::size_t>(weight.dim()), 1);
    const at::Tensor factor = factor_of(scaled.outputs) / factor_of(scaled.inputs);
    write(scaled.weight, weight.detach().to(at::kDouble) * factor.reshape(shape));
  }
  for (const ScaledVector& scaled : flow.vectors) {
    write(scaled.tensor,
          model.tensor(scaled.tensor).detach().to(at::kDouble) * factor_of(scaled.cells));
  }
}

}  // namespace edgecompress
