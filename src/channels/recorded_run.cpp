#include "channels/recorded_run.h"

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "model/conv_geometry.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "model/model.h"
#include "model/static_values.h"

namespace edgecompress {
namespace {

using c10::IValue;

IValue without_activations(const IValue& value) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    return tensor.defined() ? placeholder(tensor.sizes()) : tensor;
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(placeholder(tensor.sizes()));
    }
    return list;
  }
  return value;
}

using Sizes = std::vector<std::int64_t>;

std::optional<Sizes> sizes_of_conv(const torch::jit::Node& node, const at::Tensor& input,
                                   const at::Tensor& weight) {
  const auto geometry = conv_geometry(&node, weight.sizes());
  if (!geometry || !geometry->output_padding.empty() || input.dim() != weight.dim()) return {};
  if (input.size(1) != weight.size(1) * geometry->groups) return {};
  Sizes sizes = {input.size(0), weight.size(0)};
  for (std::size_t i = 0; i < geometry->stride.size(); ++i) {
    const auto dim = static_cast<std::int64_t>(i + 2);
    const std::int64_t reach = geometry->dilation[i] * (weight.size(dim) - 1) + 1;
    const std::int64_t room = input.size(dim) + 2 * geometry->padding[i] - reach;
    if (room < 0) return {};
    sizes.push_back(room / geometry->stride[i] + 1);
  }
  return sizes;
}

std::optional<Sizes> sizes_of_linear(const at::Tensor& input, const at::Tensor& weight) {
  if (input.dim() < 1 || weight.dim() != 2 || input.size(-1) != weight.size(1)) return {};
  Sizes sizes = input.sizes().vec();
  sizes.back() = weight.size(0);
  return sizes;
}

std::optional<Sizes> sizes_of_product(const at::Tensor& a, const at::Tensor& b) {
  if (a.dim() < 2 || a.dim() != b.dim() || a.size(-1) != b.size(-2)) return {};
  Sizes sizes = a.sizes().vec();
  sizes.back() = b.size(-1);
  const bool is_batch_alike =
      std::equal(sizes.begin(), sizes.end() - 2, b.sizes().begin(), b.sizes().end() - 2);
  return is_batch_alike ? std::optional<Sizes>(sizes) : std::nullopt;
}

std::optional<Sizes> sizes_of_sum(const at::Tensor& a, const at::Tensor& b) {
  if (at::is_expandable_to(b.sizes(), a.sizes())) return a.sizes().vec();
  if (at::is_expandable_to(a.sizes(), b.sizes())) return b.sizes().vec();
  return {};
}

/// Of an op whose inputs are tensors of one floating type, and whose output is of that type too.
using SizesOfOp = std::optional<Sizes> (*)(const torch::jit::Node& node, const at::Tensor& a,
                                           const at::Tensor& b);

const std::map<std::string, SizesOfOp>& ops_of_two() {
  static const std::map<std::string, SizesOfOp> ops = [] {
    std::map<std::string, SizesOfOp> all;
    for (const char* op : {"conv1d", "conv2d", "conv3d"}) all[op] = sizes_of_conv;
    for (const char* op : {"matmul", "bmm", "mm"}) {
      all[op] = [](const torch::jit::Node&, const at::Tensor& a, const at::Tensor& b) {
        return sizes_of_product(a, b);
      };
    }
    for (const char* op : {"add", "sub", "mul", "div"}) {
      all[op] = [](const torch::jit::Node&, const at::Tensor& a, const at::Tensor& b) {
        return sizes_of_sum(a, b);
      };
    }
    all["linear"] = [](const torch::jit::Node&, const at::Tensor& a, const at::Tensor& b) {
      return sizes_of_linear(a, b);
    };
    return all;
  }();
  return ops;
}

/// Whose output has the sizes and the type of the first input.
bool keeps_sizes(const std::string& op) {
  static const std::set<std::string> ops = {
      "relu",       "relu6",       "hardtanh",   "gelu",       "silu",
      "mish",       "elu",         "sigmoid",    "hardswish",  "tanh",
      "leaky_relu", "hardsigmoid", "prelu",      "contiguous", "softplus",
      "dropout",    "batch_norm",  "layer_norm", "group_norm", "instance_norm"};
  return ops.count(op) > 0;
}

/// Of convolutions, products and ops on single elements that are given sizes they take; the op
/// itself says what is wrong with others.
std::optional<Sizes> sizes_of_output(const torch::jit::Node& node, c10::ArrayRef<IValue> given) {
  constexpr std::size_t kNamespace = 6;  // "aten::"
  const auto is_float = [](const IValue& value) {
    return value.isTensor() && value.toTensor().defined() && value.toTensor().is_floating_point();
  };
  if (!node.kind().is_aten() || given.empty() || !is_float(given[0])) return {};
  const at::Tensor& a = given[0].toTensor();
  const std::string op = op_of(&node).substr(kNamespace);
  if (keeps_sizes(op)) return a.sizes().vec();
  const auto rule = ops_of_two().find(op);
  if (rule == ops_of_two().end() || given.size() < 2 || !is_float(given[1])) return {};
  const at::Tensor& b = given[1].toTensor();
  return a.scalar_type() == b.scalar_type() ? rule->second(node, a, b) : std::nullopt;
}

using ValueSet = std::unordered_set<const torch::jit::Value*>;

bool is_static(const torch::jit::Value* value, const ValueSet& statics) {
  return value->node()->kind() == c10::prim::Constant || statics.count(value) > 0 ||
         value == value->owningGraph()->inputs()[0];
}

bool is_static(const torch::jit::Node& node, const ValueSet& statics) {
  return node.blocks().empty() &&
         std::all_of(node.inputs().begin(), node.inputs().end(),
                     [&](const auto* value) { return is_static(value, statics); });
}

void find_statics(const torch::jit::Block* block, ValueSet& statics) {
  for (const auto* node : block->nodes()) {
    for (const auto* nested : node->blocks()) find_statics(nested, statics);
    if (is_static(*node, statics)) statics.insert(node->outputs().begin(), node->outputs().end());
  }
}

/// Whether every size is the same whatever the numbers in the activations, and nothing writes
/// there.
bool has_static_sizes(const torch::jit::Graph& graph, const ValueSet& statics) {
  canonical::StaticValues values({});
  for (const auto* node : graph.nodes()) {
    if (!node->blocks().empty() || node->kind() == c10::prim::SetAttr) return false;
    const auto* schema = node->maybeSchema();
    if (schema != nullptr && schema->is_mutable()) return false;
    // x[mask] is as long as the mask has ones.
    if (op_of(node) == "aten::index" && statics.count(node->input(1)) == 0) return false;
    for (const auto* output : node->outputs()) {
      const bool is_tensor = output->type()->isSubtypeOf(*c10::TensorType::get());
      if (!is_tensor && node->kind() == c10::prim::GetAttr) values.take_as_known(output);
      if (is_tensor && values.of_metadata(output).on_data) return false;
    }
  }
  return true;
}

}  // namespace

at::Tensor placeholder(at::IntArrayRef sizes) {
  static const at::Tensor nothing = at::zeros({}, at::kInt);
  return nothing.expand(sizes);
}

RecordedRun record_run(const Model& model, const std::vector<at::Tensor>& inputs) {
  const at::NoGradGuard no_grad;
  const torch::jit::Graph& graph = model.graph();
  RecordedRun run;
  find_statics(graph.block(), run.statics);
  const auto observe = [&](const torch::jit::Node& node, c10::ArrayRef<IValue> given,
                           c10::ArrayRef<IValue> made) {
    RecordedStep step{&node, {}, {}};
    for (std::size_t i = 0; i < given.size(); ++i) {
      const bool is_kept = is_static(node.inputs()[i], run.statics);
      step.inputs.push_back(is_kept ? given[i] : without_activations(given[i]));
    }
    for (const IValue& value : made) step.outputs.push_back(without_activations(value));
    run.steps.push_back(std::move(step));
  };
  NodeStandIn stand_in;
  if (has_static_sizes(graph, run.statics)) {
    stand_in = [&](const torch::jit::Node& node, c10::ArrayRef<IValue> given) {
      const auto sizes = is_static(node, run.statics) ? std::nullopt : sizes_of_output(node, given);
      if (!sizes) return std::optional<IValue>();
      return std::optional<IValue>(at::zeros({}, given[0].toTensor().options()).expand(*sizes));
    };
  }
  Interpreter(model).run({inputs.begin(), inputs.end()}, observe, stand_in);
  return run;
}

}  // namespace edgecompress
