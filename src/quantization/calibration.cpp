#include "quantization/calibration.h"

#include <c10/core/InferenceMode.h>

#include <map>

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

const std::map<std::string, ObserverKind> kObservers = {
    {"minmax", ObserverKind::kMinMax},
    {"moving_average", ObserverKind::kMovingAverage},
    {"percentile", ObserverKind::kPercentile},
    {"entropy", ObserverKind::kEntropy},
    {"histogram", ObserverKind::kHistogram}};

}  // namespace

Options<CalibrationOptions> calibration_options() {
  using T = CalibrationOptions;
  Options<T> options;
  options
      .add("observer", &T::observer,
           "how static ranges are chosen. minmax: all that was seen; moving_average: the average "
           "of the batches' ends; percentile: all but the farthest values; entropy: what keeps "
           "most of the distribution (least KL divergence); histogram: what loses least (least "
           "squared error)")
      .one_of({"minmax", "moving_average", "percentile", "entropy", "histogram"})
      .only_with("mode", {"static", "auto"});
  options
      .add("averaging_constant", &T::averaging_constant,
           "the weight of a new batch; the first ones weigh as much as each other")
      .above(0)
      .at_most(1)
      .only_with("observer", {"moving_average"});
  options
      .add("percentile", &T::percentile,
           "how many in a hundred values the range holds; half of the rest lie beyond each end")
      .above(0)
      .at_most(100)
      .only_with("observer", {"percentile"});
  options
      .add("activation_scheme", &T::activation_scheme,
           "affine: zero points that fit the range; symmetric: 128, or 0 for values that are never "
           "negative")
      .one_of({"affine", "symmetric"})
      .only_with("mode", {"static", "auto"});
  return options;
}

ObserverOptions make_observer_options(const CalibrationOptions& options) {
  ObserverOptions observer;
  observer.kind = kObservers.at(options.observer);
  observer.averaging_constant = options.averaging_constant;
  observer.percentile = options.percentile;
  observer.is_symmetric = options.activation_scheme == "symmetric";
  return observer;
}

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
