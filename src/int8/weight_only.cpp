#include "int8/weight_only.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <algorithm>
#include <map>

#include "edgecompress/error.h"
#include "model/graph_building.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

constexpr double kLargestByte = 127, kLargestNibble = 15;

bool is_reader(const Layer& layer) {
  const std::string op = op_of(layer.node);
  return op == "aten::linear" || op == "aten::embedding";
}

std::map<std::string, std::size_t> count_reads(const torch::jit::Block* block) {
  std::map<std::string, std::size_t> reads;
  for (const Node* node : block->nodes()) {
    for (const torch::jit::Block* nested : node->blocks()) {
      for (const auto& [name, count] : count_reads(nested)) reads[name] += count;
    }
    if (node->kind() == c10::prim::GetAttr) continue;
    for (const Value* input : node->inputs()) {
      const std::string path = attribute_path(input);
      if (!path.empty()) ++reads[path];
    }
  }
  return reads;
}

/// "" if the layer's weight can be stored in few bits.
std::string obstacle_of(const Model& model, const Layer& layer, const LayerFilter& filter,
                        const WeightOnlyOptions& options) {
  if (!layer.weight) return "its weight is computed in the graph";
  const at::Tensor weight = model.tensor(*layer.weight);
  if (!filter.accepts(layer.name)) return "the recipe excludes it";
  if (weight.scalar_type() != at::kFloat || weight.dim() != 2) return "its weight is not float32";
  if (weight.numel() < options.smallest_size)
    return "its weight has fewer than " + std::to_string(options.smallest_size) + " numbers";
  if (options.bits == 4 && weight.size(1) % 2 != 0) return "its rows can't be packed in pairs";
  return "";
}

std::int64_t group_width(std::int64_t columns, std::int64_t most) {
  constexpr std::int64_t kNarrowest = 8;
  if (most == 0 || most >= columns) return columns;
  std::int64_t width = most;
  while (columns % width != 0) --width;
  return width < kNarrowest ? columns : width;
}

/// Scales as the file keeps them: in half precision, where that has 11 bits for each.
at::Tensor stored_scales(const at::Tensor& scales) {
  constexpr double kSmallestHalf = 6.2e-5, kLargestHalf = 65504;
  const bool fits =
      scales.min().item<double>() >= kSmallestHalf && scales.max().item<double>() <= kLargestHalf;
  return scales.to(fits ? at::kHalf : at::kFloat);
}

/// Inserts the ops that make rows float again.
class Dequantizer {
 public:
  Dequantizer(Graph& graph, std::int64_t columns, std::int64_t group_size)
      : graph_(graph), columns_(columns), group_size_(group_size) {}

  Value* insert(const char* name, const std::vector<Value*>& inputs) {
    return insert_op(graph_, name, inputs)->output();
  }
  template <class T>
  Value* constant(const T& value) {
    return graph_.insertConstant(value);
  }
  Value* as_float(Value* value) { return insert_conversion(graph_, value, at::kFloat); }

  /// `values` [n, bytes], `scales` and `zeros` (or null) [n, groups] -> float [n, columns].
  Value* rows(Value* values, Value* scales, Value* zeros) {
    if (zeros != nullptr) {
      Value* low = insert("aten::bitwise_and", {values, constant(15)});
      Value* high = insert("aten::bitwise_right_shift", {values, constant(4)});
      Node* both = graph_.insertNode(graph_.createList(c10::TensorType::get(), {low, high}));
      values = insert("aten::cat", {both->output(), constant(1)});
    }
    const std::int64_t groups = columns_ / group_size_;
    Value* numbers = insert("aten::reshape", {as_float(values), list({-1, groups, group_size_})});
    Value* last = constant(-1);
    if (zeros != nullptr) {
      Value* shift = insert("aten::unsqueeze", {as_float(zeros), last});
      numbers = insert("aten::sub", {numbers, shift, constant(1)});
    }
    numbers = insert("aten::mul", {numbers, insert("aten::unsqueeze", {as_float(scales), last})});
    return insert("aten::reshape", {numbers, list({-1, columns_})});
  }

  Value* list(const std::vector<std::int64_t>& numbers) { return constant(numbers); }

 private:
  Graph& graph_;
  std::int64_t columns_, group_size_;
};

/// Names of the attributes that a weight became.
struct StoredRows {
  std::string values, scales, zeros;  // zeros: "" if there are none
};

class Replacement {
 public:
  Replacement(Model& model, const StoredRows& stored, std::int64_t columns, std::int64_t group_size)
      : model_(model),
        graph_(*model.edit()),
        stored_(stored),
        columns_(columns),
        make_(graph_, columns, group_size) {}

  void replace(Node* node) {
    const torch::jit::WithInsertPoint guard(node);
    if (op_of(node) == "aten::linear") {
      node->replaceInput(1, make_.rows(read(stored_.values), read(stored_.scales), zeros()));
    } else {
      node->output()->replaceAllUsesWith(looked_up(node));
      node->destroy();
    }
  }

 private:
  Value* read(const std::string& name) { return insert_attribute(graph_, model_, name); }
  Value* zeros() { return stored_.zeros.empty() ? nullptr : read(stored_.zeros); }

  /// Only the rows that are asked for are made float.
  Value* looked_up(Node* node) {
    Value* indices = node->input(1);
    Value* flat = make_.insert("aten::reshape", {indices, make_.list({-1})});
    const auto rows_of = [&](Value* table) {
      return make_.insert("aten::index_select", {table, make_.constant(0), flat});
    };
    Value* shift = zeros();
    Value* rows = make_.rows(rows_of(read(stored_.values)), rows_of(read(stored_.scales)),
                             shift == nullptr ? nullptr : rows_of(shift));
    Value* sizes = make_.insert("aten::size", {indices});
    sizes->setType(c10::ListType::ofInts());
    Value* shape = make_.insert("aten::add", {sizes, make_.list({columns_})});
    shape->setType(c10::ListType::ofInts());
    return make_.insert("aten::reshape", {rows, shape});
  }

  Model& model_;
  Graph& graph_;
  const StoredRows& stored_;
  std::int64_t columns_;
  Dequantizer make_;
};

}  // namespace

WeightOnlyTargets find_weight_only_targets(Model& model, const LayerFilter& filter,
                                           const WeightOnlyOptions& options) {
  WeightOnlyTargets found;
  const auto reads = count_reads(model.graph().block());
  for (const Layer& layer : find_layers(model)) {
    if (!is_reader(layer)) continue;
    const std::string obstacle = obstacle_of(model, layer, filter, options);
    if (!obstacle.empty()) {
      found.float_layers.push_back({layer.name, false, obstacle, {}, nullptr});
      continue;
    }
    const auto same =
        std::find_if(found.targets.begin(), found.targets.end(),
                     [&](const auto& other) { return other.weight == *layer.weight; });
    const bool is_linear = op_of(layer.node) == "aten::linear";
    if (same == found.targets.end()) {
      found.targets.push_back({layer.name, *layer.weight, {layer.node}, is_linear});
    } else {
      same->readers.push_back(layer.node);
      same->is_linear = same->is_linear && is_linear;
    }
  }
  const auto is_shared = [&](const WeightOnlyTarget& target) {
    return reads.at(target.weight) != target.readers.size();
  };
  for (const WeightOnlyTarget& target : found.targets) {
    if (is_shared(target))
      found.float_layers.push_back(
          {target.layer, false, "another kind of op reads its weight too", {}, nullptr});
  }
  found.targets.erase(std::remove_if(found.targets.begin(), found.targets.end(), is_shared),
                      found.targets.end());
  return found;
}

RoundingGrid weight_only_grid(const at::Tensor& weight, const WeightOnlyOptions& options) {
  const at::NoGradGuard no_grad;
  const at::Tensor wide = weight.detach().to(at::kDouble);
  if (!at::isfinite(wide).all().item<bool>()) {
    throw Error(ExitCode::kPass, "a weight holds values that are not finite",
                "the weights of the model are damaged");
  }
  RoundingGrid grid;
  grid.group_size = group_width(weight.size(1), options.group_size);
  const at::Tensor groups = wide.reshape({weight.size(0), -1, grid.group_size});
  const at::Tensor low = groups.amin(2).clamp_max(0), high = groups.amax(2).clamp_min(0);
  const bool is_byte = options.bits == 8;
  const at::Tensor range =
      is_byte ? at::maximum(-low, high) / kLargestByte : (high - low) / kLargestNibble;
  const at::Tensor scales = at::where(range > 0, range, at::ones_like(range));
  grid.scales = stored_scales(scales).to(at::kDouble);
  grid.low = is_byte ? -kLargestByte : 0;
  grid.high = is_byte ? kLargestByte : kLargestNibble;
  grid.zeros =
      is_byte ? at::zeros_like(scales) : (-low / grid.scales).round().clamp(0, kLargestNibble);
  return grid;
}

std::int64_t store_weight_only(Model& model, const WeightOnlyTarget& target, const at::Tensor& q,
                               const RoundingGrid& grid, std::int64_t bits) {
  const auto type = c10::TensorType::get();
  const std::int64_t columns = q.size(1);
  std::int64_t bytes = 0;
  const auto add = [&](const std::string& suffix, const at::Tensor& tensor) {
    bytes += static_cast<std::int64_t>(tensor.nbytes());
    return model.add_attribute(target.weight + suffix, type, tensor);
  };
  StoredRows stored;
  stored.scales = add(".scales", stored_scales(grid.scales));
  if (bits == 8) {
    stored.values = add(".values", q.to(at::kChar));
  } else {
    const at::Tensor numbers = q.to(at::kByte);
    const at::Tensor high = numbers.slice(1, columns / 2, columns);
    stored.values = add(".values", numbers.slice(1, 0, columns / 2) + high * 16);
    stored.zeros = add(".zeros", grid.zeros.to(at::kByte));
  }
  Replacement replacement(model, stored, columns, grid.group_size);
  for (Node* reader : target.readers) replacement.replace(reader);
  torch::jit::EliminateDeadCode(model.edit());
  model.remove_unused_attributes();
  return bytes;
}

}  // namespace edgecompress
