#include "model/recorded_run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "model/interpreter.h"
#include "model/model.h"

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

}  // namespace

at::Tensor placeholder(at::IntArrayRef sizes) {
  static const at::Tensor nothing = at::zeros({}, at::kInt);
  return nothing.expand(sizes);
}

RecordedRun record_run(const Model& model, const std::vector<at::Tensor>& inputs) {
  const at::NoGradGuard no_grad;
  RecordedRun run;
  const auto is_static = [&](const torch::jit::Value* value) {
    return value->node()->kind() == c10::prim::Constant || run.statics.count(value) > 0 ||
           value == model.graph().inputs()[0];
  };
  const auto observe = [&](const torch::jit::Node& node, c10::ArrayRef<IValue> given,
                           c10::ArrayRef<IValue> made) {
    RecordedStep step{&node, {}, {}};
    for (std::size_t i = 0; i < given.size(); ++i) {
      step.inputs.push_back(is_static(node.inputs()[i]) ? given[i] : without_activations(given[i]));
    }
    for (const IValue& value : made) step.outputs.push_back(without_activations(value));
    const bool has_static_outputs =
        node.blocks().empty() && std::all_of(node.inputs().begin(), node.inputs().end(), is_static);
    if (has_static_outputs) run.statics.insert(node.outputs().begin(), node.outputs().end());
    run.steps.push_back(std::move(step));
  };
  Interpreter(model).run({inputs.begin(), inputs.end()}, observe);
  return run;
}

}  // namespace edgecompress
