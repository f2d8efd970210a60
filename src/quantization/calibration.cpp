#include "quantization/calibration.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/InferenceMode.h>

#include <functional>
#include <map>
#include <set>

#include "edgecompress/error.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "train/layout.h"
#include "train/steady_heap.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

void watch(Observer& observer, const c10::IValue& value) {
  if (value.isTensor() && value.toTensor().scalar_type() == at::kFloat)
    observer.observe(value.toTensor());
}

/// Carries elementwise ops out in the memory of what they read, where nothing else reads it: half
/// of their time goes to pages that are written for the first time.
class InPlaceOps {
 public:
  explicit InPlaceOps(const torch::jit::Graph& graph) {
    for (const Node* node : graph.nodes()) {
      const std::string op = op_of(node);
      if (!kElementwise.count(op) || !is_written_anew(node->input(0))) continue;
      const auto in_place =
          c10::Dispatcher::singleton().findSchema({op + "_", node->schema().overload_name()});
      if (in_place) ops_.emplace(node, *in_place);
    }
  }

  std::optional<c10::IValue> operator()(const Node& node, c10::ArrayRef<c10::IValue> inputs) const {
    const auto op = ops_.find(&node);
    if (op == ops_.end() || !fits_in_place(inputs)) return std::nullopt;
    torch::jit::Stack stack(inputs.begin(), inputs.end());
    op->second.callBoxed(&stack);
    return stack.at(0);
  }

 private:
  /// By an op whose output shares no memory with anything.
  static bool is_written_anew(const Value* value) {
    return value->uses().size() == 1 && kMakers.count(op_of(value->node()));
  }
  /// Whether the result is of the first operand's shape and type.
  static bool fits_in_place(c10::ArrayRef<c10::IValue> inputs) {
    const at::Tensor& target = inputs[0].toTensor();
    if (inputs.size() < 2 || !inputs[1].isTensor()) return true;
    const at::Tensor& other = inputs[1].toTensor();
    return other.sizes() == target.sizes() && other.scalar_type() == target.scalar_type();
  }

  static inline const std::set<std::string> kElementwise = {
      "aten::relu", "aten::hardtanh", "aten::hardswish", "aten::silu", "aten::add"};
  static inline const std::set<std::string> kMakers = {"aten::conv1d", "aten::conv2d",
                                                       "aten::conv3d", "aten::linear",
                                                       "aten::add",    "aten::batch_norm"};

  std::unordered_map<const Node*, c10::OperatorHandle> ops_;
};

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
    : model_(model), measured_(plan.measured) {
  for (const Value* value : measured_) observers_.emplace(value, observer);
  for (auto& [value, watching] : observers_) {
    if (value->node()->kind() != c10::prim::Param)
      by_node_[value->node()].emplace_back(value->offset(), &watching);
  }
}

void Calibration::run(std::shared_ptr<const Dataset> data, std::int64_t batch_size,
                      Progress& progress) {
  const SteadyHeap heap;
  const ChannelsLast layout(model_, data->read({0}, /*seed=*/0).inputs);
  const c10::InferenceMode inference;
  const Interpreter interpreter(model_);
  const InPlaceOps in_place(model_.graph());
  const auto look = [this](const Node& node, c10::ArrayRef<c10::IValue>,
                           c10::ArrayRef<c10::IValue> outputs) {
    const auto found = by_node_.find(&node);
    if (found == by_node_.end()) return;
    for (const auto& [offset, observer] : found->second) watch(*observer, outputs[offset]);
  };
  progress.begin("calibrate", data->size());
  Loader loader(std::move(data), batch_size);
  for (Batch batch; loader.next(batch);) {
    observe_inputs(batch.inputs);
    const std::vector<at::Tensor> laid_out = layout.lay_out(batch.inputs);
    const std::vector<c10::IValue> inputs(laid_out.begin(), laid_out.end());
    interpreter.run(inputs, look, std::cref(in_place));
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
  for (const Value* value : measured_) {
    if (observers_.at(value).is_finite()) continue;
    throw Error(ExitCode::kData,
                "calibration: the values after " + op_of(value->node()) + " are not finite",
                "look for NaN in the data or for weights that overflow");
  }
}

}  // namespace edgecompress
