#include "low_rank/factored_layers.h"

#include <ATen/ATen.h>
#include <c10/util/accumulate.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "model/graph_building.h"
#include "model/layers.h"
#include "util/text.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Module;
using torch::jit::Node;
using torch::jit::Value;

namespace {

// Arguments of aten::conv1d..3d; aten::linear has the first three.
constexpr std::size_t kWeight = 1, kBias = 2, kStride = 3, kPadding = 4, kDilation = 5, kGroups = 6;

bool is_plain_convolution(const Node* node) {
  const std::string op = op_of(node);
  return op == "aten::conv1d" || op == "aten::conv2d" || op == "aten::conv3d";
}

/// Calls `visit` for each use of what reads the attribute.
template <class Visit>
void for_each_use(const Value* value, const Visit& visit) {
  for (const torch::jit::Use& use : value->uses()) {
    if (use.user->kind() == c10::prim::unchecked_cast) {
      for_each_use(use.user->output(), visit);
    } else {
      visit(use);
    }
  }
}

template <class Visit>
void for_each_use(const torch::jit::Block* block, const std::string& attribute,
                  const Visit& visit) {
  for (const Node* node : block->nodes()) {
    for (const torch::jit::Block* nested : node->blocks()) for_each_use(nested, attribute, visit);
    if (node->kind() == c10::prim::GetAttr && attribute_path(node->output()) == attribute)
      for_each_use(node->output(), visit);
  }
}

/// Whether the nodes alone read the attribute, each as its argument of that number.
bool is_read_by(const Model& model, const std::string& attribute,
                const std::vector<const Node*>& nodes, std::size_t argument) {
  bool is_own = true;
  for_each_use(model.graph().block(), attribute, [&](const torch::jit::Use& use) {
    const bool is_reader = std::find(nodes.begin(), nodes.end(), use.user) != nodes.end();
    is_own = is_own && is_reader && use.offset == argument;
  });
  return is_own;
}

/// Whether the tensor is another parameter as well.
bool is_tied(const Model& model, const std::string& name) {
  const at::Tensor tensor = model.tensor(name);
  const auto parameters = model.named_parameters();
  return std::any_of(parameters.begin(), parameters.end(), [&](const auto& parameter) {
    return parameter.first != name && parameter.second.is_alias_of(tensor);
  });
}

bool has_constant_geometry(const Node* node, std::size_t rank) {
  const auto is_list = [&](const c10::IValue& value) {
    const std::size_t size = value.isIntList() ? value.toIntVector().size() : 0;
    return size == 1 || size == rank;
  };
  const c10::IValue padding = constant_argument(node, "padding");
  return is_list(constant_argument(node, "stride")) &&
         is_list(constant_argument(node, "dilation")) && (is_list(padding) || padding.isString()) &&
         constant_argument(node, "groups").isInt();
}

/// The value of an argument with one number a dimension, with `neutral` in dimension `dim`.
Value* without_dimension(Graph& graph, const Node* node, std::size_t argument, std::size_t dim,
                         std::int64_t neutral) {
  const c10::IValue value = *constant_of(node->input(argument));
  if (value.isString()) return node->input(argument);  // "same" and "valid" hold of each dimension
  std::vector<std::int64_t> numbers = value.toIntVector();
  if (numbers.size() == 1) numbers.resize(2, numbers.front());
  numbers[dim] = neutral;
  return graph.insertConstant(numbers);
}

struct Rewriting {
  Graph& graph;
  FactorScheme scheme;
  std::size_t dimensions;        ///< of the kernel
  Value *first, *second, *bias;  ///< bias null: each node keeps its own

  void apply(Node* node) const {
    const torch::jit::WithInsertPoint guard(node);
    std::vector<Value*> inputs = node->inputs().vec();
    const std::vector<Value*> own = inputs;
    inputs[kWeight] = first;
    inputs[kBias] = graph.insertConstant(c10::IValue());
    if (is_plain_convolution(node)) divide_movement(node, inputs);
    Node* reducing = insert_op(graph, op_of(node), inputs);
    node->replaceInput(0, reducing->output());
    node->replaceInput(kWeight, second);
    if (bias != nullptr) node->replaceInput(kBias, bias);
  }

 private:
  /// `inputs` become those of the first convolution, the node's own those of the second.
  void divide_movement(Node* node, std::vector<Value*>& inputs) const {
    if (scheme == FactorScheme::kSpatial) {
      const std::pair<std::size_t, std::int64_t> neutral[] = {
          {kStride, 1}, {kPadding, 0}, {kDilation, 1}};
      for (const auto& [argument, number] : neutral) {
        inputs[argument] = without_dimension(graph, node, argument, 1, number);
        Value* rest = without_dimension(graph, node, argument, 0, number);
        node->replaceInput(argument, rest);
      }
      return;
    }
    const std::vector<std::int64_t> ones(dimensions, 1), zeros(dimensions, 0);
    node->replaceInput(kStride, graph.insertConstant(ones));
    node->replaceInput(kPadding, graph.insertConstant(zeros));
    node->replaceInput(kDilation, graph.insertConstant(ones));
  }
};

/// The name under which the factors 0 and 1 can be had.
std::string place_of_factors(const Model& model, const std::string& weight) {
  const std::string module = module_of(weight);
  const bool is_root = module == weight;
  if (!is_root && weight == module + ".weight" && !model.has_attribute(module + ".0") &&
      !model.has_attribute(module + ".1")) {
    return module;
  }
  const std::string base = is_root ? "factors" : module + ".factors";
  std::string place = base;
  for (int i = 1; model.has_attribute(place); ++i) place = base + "_" + std::to_string(i);
  return place;
}

/// The submodule of that name, made if there is none.
Module submodule(const Module& owner, const std::string& name) {
  Module parent = owner;
  if (!parent.hasattr(name)) {
    const c10::QualifiedName type(parent.type()->name()->qualifiedName() + "_" + name);
    const auto unit = parent._ivalue()->compilation_unit();
    parent.register_module(name, Module(type, unit, /*shouldMangle=*/true));
  }
  return parent.attr(name).toModule();
}

/// A parameter `place`.0.weight, say; modules that are missing on the way are made.
void add_parameter(Model& model, const std::string& place, const std::string& factor,
                   const std::string& name, const at::Tensor& value) {
  Module owner = model.module();
  for (const std::string& part : split(place + "." + factor, '.')) owner = submodule(owner, part);
  owner.register_parameter(name, value.detach().set_requires_grad(true), /*is_buffer=*/false);
}

}  // namespace

std::string to_string(FactorScheme scheme) {
  return scheme == FactorScheme::kChannel ? "channel" : "spatial";
}

at::Tensor product_of(const FactorPair& factors, const PrunableWeight& weight,
                      FactorScheme scheme) {
  const std::int64_t groups = weight.groups, rank = factors.second.size(1);
  if (scheme == FactorScheme::kChannel) {
    const at::Tensor first = factors.first.reshape({groups, rank, -1}),
                     second = factors.second.reshape({groups, -1, rank});
    return at::bmm(second, first).reshape(weight.sizes);
  }
  const std::int64_t in = weight.sizes[1], height = weight.sizes[2], width = weight.sizes[3];
  const at::Tensor first = factors.first.reshape({groups, rank, in * height});
  const at::Tensor second =
      factors.second.reshape({groups, -1, rank, width}).transpose(2, 3).reshape({groups, -1, rank});
  return at::bmm(second, first)
      .reshape({weight.rows(), width, in, height})
      .permute({0, 2, 3, 1})
      .contiguous();
}

bool has_spatial_scheme(const PrunableWeight& weight) {
  return weight.kind == LayerKind::kConv && weight.sizes.size() == 4 && weight.sizes[2] > 1 &&
         weight.sizes[3] > 1;
}

std::string why_not_factored(const Model& model, const PrunableWeight& weight) {
  if (weight.kind == LayerKind::kConvTransposed) return "it is a transposed convolution";
  if (weight.kind != LayerKind::kConv && weight.kind != LayerKind::kLinear)
    return "its steps multiply with the whole weight in one kernel";
  if (is_tied(model, weight.weight)) return "other layers hold the same weight";
  if (!is_read_by(model, weight.weight, weight.nodes, kWeight))
    return "others than layers of its kind read its weight too";
  for (const Node* node : weight.nodes) {
    if (weight.kind == LayerKind::kLinear && op_of(node) == "aten::linear") continue;
    if (!is_plain_convolution(node)) return "it is spelled " + op_of(node);
    if (!has_constant_geometry(node, weight.sizes.size() - 2))
      return "its stride, padding, dilation or groups are no constants";
    if (constant_argument(node, "groups").toInt() != weight.groups)
      return "its weight is used with other groups elsewhere";
  }
  return "";
}

LayerCost cost_of_layer(const PrunableWeight& weight, const ShapeMap& shapes) {
  LayerCost cost;
  cost.parameters = weight.size();
  for (const Node* node : weight.nodes)
    cost.macs += c10::multiply_integers(shapes.at(node->output()).sizes) * weight.columns();
  return cost;
}

LayerCost cost_of_rank(const PrunableWeight& weight, FactorScheme scheme, const ShapeMap& shapes) {
  const bool is_spatial = scheme == FactorScheme::kSpatial;
  const std::int64_t of_first =
      weight.groups * (is_spatial ? weight.columns() / weight.sizes[3] : weight.columns());
  const std::int64_t of_second = weight.rows() * (is_spatial ? weight.sizes[3] : 1);
  LayerCost cost;
  cost.parameters = of_first + of_second;
  for (const Node* node : weight.nodes) {
    const auto& out = shapes.at(node->output()).sizes;
    const std::int64_t positions = c10::multiply_integers(out) / weight.rows();
    // Rows move in the first layer, columns in the second: between them are the input's columns.
    const std::int64_t between =
        is_spatial ? positions / out.back() * shapes.at(node->input(0)).sizes.back() : positions;
    cost.macs += between * of_first + positions * of_second;
  }
  return cost;
}

std::string replace_by_factors(Model& model, const PrunableWeight& weight, FactorScheme scheme,
                               const FactorPair& factors) {
  const std::string place = place_of_factors(model, weight.weight);
  const std::string bias = attribute_path(weight.nodes[0]->input(kBias));
  const bool is_bias_one =
      std::all_of(weight.nodes.begin(), weight.nodes.end(),
                  [&](const Node* node) { return attribute_path(node->input(kBias)) == bias; });
  const bool is_bias_own =
      !bias.empty() && is_bias_one && is_read_by(model, bias, weight.nodes, kBias);
  add_parameter(model, place, "0", "weight", factors.first);
  add_parameter(model, place, "1", "weight", factors.second);
  if (is_bias_own) add_parameter(model, place, "1", "bias", model.tensor(bias));

  const auto graph = model.edit();
  const auto read = [&](const std::string& name) {
    return insert_attribute(*graph, model, place + name);
  };
  const Rewriting rewriting{*graph,
                            scheme,
                            weight.sizes.size() - 2,
                            read(".0.weight"),
                            read(".1.weight"),
                            is_bias_own ? read(".1.bias") : nullptr};
  for (const Node* node : weight.nodes) rewriting.apply(const_cast<Node*>(node));
  torch::jit::EliminateDeadCode(graph);  // reads of the old weight
  return place + ".1.weight";
}

}  // namespace edgecompress
