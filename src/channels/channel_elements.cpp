// Channels through ops that treat each element alone, or rows of elements, and through tensors made
// of nothing.
#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "channels/channel_follower.h"
#include "model/layers.h"

namespace edgecompress::channels {

const Follower::Rules& Follower::element_rules() {
  static const Rules all = [] {
    Rules rules;
    add_rule(rules,
             "relu relu6 gelu silu mish elu celu selu leaky_relu hardtanh hardswish "
             "hardsigmoid sigmoid tanh softplus softsign logsigmoid log_sigmoid dropout "
             "alpha_dropout feature_dropout clamp clamp_min clamp_max contiguous clone "
             "detach to type_as alias exp log sqrt rsqrt abs neg square sin cos erf floor "
             "ceil round reciprocal threshold hardshrink softshrink rrelu dropout_ bernoulli "
             "zeros_like ones_like rand_like full_like empty_like lift_fresh lift log1p "
             "expm1 logical_not nan_to_num sign add sub rsub mul div pow maximum minimum "
             "where lerp addcmul addcdiv masked_fill eq ne gt ge lt le logical_and "
             "logical_or __and__ __or__ floor_divide remainder fmod atan2 expand_as "
             "true_divide zero fill",
             &Follower::follow_pointwise);
    add_rule(rules,
             "mean sum amax amin max min var std norm linalg_vector_norm logsumexp prod any "
             "all argmax argmin var_mean std_mean",
             &Follower::follow_reduction);
    add_rule(rules, "softmax log_softmax cumsum cumprod", &Follower::follow_softmax);
    add_rule(rules,
             "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d "
             "lp_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
             "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d "
             "upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d "
             "upsample_bicubic2d upsample_trilinear3d upsample_nearest_exact1d "
             "upsample_nearest_exact2d _upsample_nearest_exact2d",
             &Follower::follow_spatial);
    add_rule(rules, "zeros ones full empty new_zeros new_ones new_full new_empty rand randn",
             &Follower::follow_fill);
    add_rule(rules, "zero_ fill_ copy_", &Follower::follow_write);
    add_rule(rules, "arange linspace tensor scalar_tensor eye", &Follower::set_uniform);
    rules["prim::NumToTensor"] = &Follower::set_uniform;
    return rules;
  }();
  return all;
}

void Follower::follow_pointwise(const RecordedStep& step) {
  const Node* node = step.node;
  if (op_of(node) == "aten::expand_as") {
    CellMap map = map_of(node->input(0));
    const auto sizes = sizes_of(step.outputs[0]);
    while (map.cells.dim() < static_cast<std::int64_t>(sizes.size()))
      map.cells = map.cells.unsqueeze(0);
    map.sizes = sizes;
    return set_map(node->output(), map);
  }
  std::vector<const Value*> tensors;
  for (std::size_t i = 0; i < node->inputs().size(); ++i) {
    if (step.inputs[i].isTensor() && step.inputs[i].toTensor().defined()) {
      tensors.push_back(node->inputs()[i]);
    }
  }
  if (tensors.empty()) return set_uniform(step);
  const std::string op = op_of(node);
  if (op == "aten::to" || op == "aten::type_as") tensors.erase(tensors.begin() + 1, tensors.end());
  const Source* only = source_of(tensors[0]);
  if (tensors.size() == 1 && only != nullptr && only->is_attribute())
    return set(node->output(), *only);
  CellMap map = map_of(tensors[0]);
  for (std::size_t i = 1; i < tensors.size(); ++i) map = merge(map, map_of(tensors[i]), op);
  set_map(node->output(), map);
}

void Follower::follow_reduction(const RecordedStep& step) {
  const Node* node = step.node;
  if (step.inputs.size() == 2 && step.inputs[1].isTensor()) return follow_pointwise(step);  // max
  CellMap map = map_of(node->input(0));
  const auto out_sizes = sizes_of(step.outputs[0]);
  std::set<std::int64_t> reduced;
  const auto* schema = node->maybeSchema();
  for (std::size_t i = 1; schema && i < step.inputs.size(); ++i) {
    const std::string& argument = schema->arguments()[i].name();
    if (argument != "dim" && argument != "dims") continue;
    if (step.inputs[i].isInt())
      reduced.insert(positive_dim(step.inputs[i].toInt(), map.sizes.size()));
    if (step.inputs[i].isIntList()) {
      for (const std::int64_t dim : step.inputs[i].toIntVector()) {
        reduced.insert(positive_dim(dim, map.sizes.size()));
      }
    }
  }
  if (reduced.empty()) {
    for (std::size_t dim = 0; dim < map.sizes.size(); ++dim)
      reduced.insert(static_cast<std::int64_t>(dim));
  }
  for (const std::int64_t dim : reduced) map = level(map, dim);
  at::Tensor cells = map.cells;
  bool is_clean = true;
  for (auto dim = reduced.rbegin(); dim != reduced.rend(); ++dim) {
    is_clean = is_clean && !map.varies_along(*dim);
    cells = cells.narrow(*dim, 0, 1);
    if (out_sizes.size() < map.sizes.size()) cells = cells.squeeze(*dim);
  }
  if (!is_clean) {
    fix(map, op_of(node) + " reduces over it");
    return set_uniform(step);
  }
  for (const Value* output : node->outputs()) set_map(output, {out_sizes, cells});
}

void Follower::follow_softmax(const RecordedStep& step) {
  CellMap map = map_of(step.node->input(0));
  const std::int64_t dim = positive_dim(step.inputs[1].toInt(), map.sizes.size());
  map = level(map, dim);
  if (map.varies_along(dim)) fix(map, op_of(step.node) + " reduces over it");
  set_map(step.node->output(), map);
}

void Follower::follow_spatial(const RecordedStep& step) {
  CellMap map = map_of(step.node->input(0));
  const auto sizes = sizes_of(step.outputs[0]);
  const std::string op = op_of(step.node);
  const auto digit = op.find_first_of("123");
  const std::size_t pixels = digit == std::string::npos ? sizes.size() : op[digit] - '0';
  for (std::size_t dim = sizes.size() - std::min(pixels, sizes.size()); dim < sizes.size(); ++dim) {
    const auto along = static_cast<std::int64_t>(dim);
    map = level(map, along);
    if (!map.varies_along(along)) continue;
    fix(map, op + " works along it");
    return set_uniform(step);
  }
  for (const Value* output : step.node->outputs()) set_map(output, {sizes, map.cells});
}

/// A tensor made of nothing has the sizes that are asked of it: each of its elements is free.
void Follower::follow_fill(const RecordedStep& step) {
  constexpr std::int64_t kMostElements = 1 << 20;
  const auto sizes = sizes_of(step.outputs[0]);
  std::int64_t count = 1;
  for (const std::int64_t size : sizes) count *= size;
  if (count <= 1 || count > kMostElements) return set_uniform(step);
  const Cell first = flow_.sets.make(count);
  set_map(step.node->output(), {sizes, at::arange(first, first + count, at::kInt).view(sizes)});
}

/// What is written to piece by piece (a mask) keeps its sizes.
void Follower::follow_write(const RecordedStep& step) {
  fix_inputs(step, op_of(step.node) + " writes into it");
  set_uniform(step);
}

}  // namespace edgecompress::channels
