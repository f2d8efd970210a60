#include "model/recorded_run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

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

/// Of a convolution or matrix product that is given sizes it takes; the op itself says what is
/// wrong with others.
std::optional<Sizes> sizes_of_output(const torch::jit::Node& node, c10::ArrayRef<IValue> given) {
  if (given.size() < 2 || !given[0].isTensor() || !given[1].isTensor()) return {};
  const at::Tensor &a = given[0].toTensor(), &b = given[1].toTensor();
  if (!a.defined() || !b.defined() || a.scalar_type() != b.scalar_type()) return {};
  const std::string op = op_of(&node);
  if (op == "aten::conv1d" || op == "aten::conv2d" || op == "aten::conv3d")
    return sizes_of_conv(node, a, b);
  if (op == "aten::linear") return sizes_of_linear(a, b);
  if (op == "aten::matmul" || op == "aten::bmm" || op == "aten::mm") return sizes_of_product(a, b);
  return {};
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

/// Whether every size is the same whatever the numbers in the activations.
bool has_static_sizes(const torch::jit::Graph& graph, const ValueSet& statics) {
  canonical::StaticValues values({});
  for (const auto* node : graph.nodes()) {
    if (!node->blocks().empty() || node->kind() == c10::prim::SetAttr) return false;
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
      return sizes ? std::optional<IValue>(at::zeros(*sizes, given[0].toTensor().options()))
                   : std::nullopt;
    };
  }
  Interpreter(model).run({inputs.begin(), inputs.end()}, observe, stand_in);
  return run;
}

}  // namespace edgecompress
