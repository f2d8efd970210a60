#include "train/calibration.h"

#include <c10/core/InferenceMode.h>

#include "edgecompress/error.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "train/layout.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

void watch(Observer& observer, const c10::IValue& value) {
  if (value.isTensor() && value.toTensor().scalar_type() == at::kFloat)
    observer.observe(value.toTensor());
}

}  // namespace

Calibration::Calibration(Model& model, const Int8Plan& plan, const ObserverOptions& observer)
    : model_(model) {
  for (const Value* value : plan.measured) observers_.emplace(value, observer);
  for (auto& [value, watching] : observers_) {
    if (value->node()->kind() != c10::prim::Param)
      by_node_[value->node()].emplace_back(value->offset(), &watching);
  }
}

void Calibration::run(std::shared_ptr<const Dataset> data, std::int64_t batch_size,
                      Progress& progress) {
  const ChannelsLast layout(model_, data->read({0}, /*seed=*/0).inputs);
  const c10::InferenceMode inference;
  const Interpreter interpreter(model_);
  progress.begin("calibrate", data->size());
  Loader loader(std::move(data), batch_size);
  for (Batch batch; loader.next(batch);) {
    observe_inputs(batch.inputs);
    const std::vector<at::Tensor> laid_out = layout.lay_out(batch.inputs);
    const std::vector<c10::IValue> inputs(laid_out.begin(), laid_out.end());
    interpreter.run(inputs, [this](const Node& node, c10::ArrayRef<c10::IValue>,
                                   c10::ArrayRef<c10::IValue> outputs) {
      const auto found = by_node_.find(&node);
      if (found == by_node_.end()) return;
      for (const auto& [offset, observer] : found->second) watch(*observer, outputs[offset]);
    });
    progress.advance(batch.size);
  }
  progress.end();
  check_finite();
}

bool Calibration::has_range(const Value* value) const {
  const auto found = observers_.find(value);
  return found != observers_.end() && found->second.has_seen_values();
}

QuantizedRange Calibration::range(const Value* value) const { return observers_.at(value).range(); }

void Calibration::observe_inputs(const std::vector<at::Tensor>& inputs) {
  const auto values = model_.graph().inputs();
  for (std::size_t i = 0; i < inputs.size() && i + 1 < values.size(); ++i) {
    const auto found = observers_.find(values[i + 1]);
    if (found != observers_.end()) watch(found->second, inputs[i]);
  }
}

void Calibration::check_finite() const {
  for (const auto& [value, observer] : observers_) {
    if (observer.is_finite()) continue;
    throw Error(ExitCode::kData,
                "calibration: the values after " + op_of(value->node()) + " are not finite",
                "look for NaN in the data or for weights that overflow");
  }
}

}  // namespace edgecompress
