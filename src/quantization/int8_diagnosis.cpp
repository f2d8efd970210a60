#include "quantization/int8_diagnosis.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "eval/sqnr.h"
#include "model/interpreter.h"

namespace edgecompress {

using torch::jit::Node;

namespace {

constexpr std::int64_t kLayerSamples = 4;
constexpr std::int64_t kNetworkSamples = 32, kFewestNetworkSamples = 4, kMostNetworkRuns = 1024;

/// Sums of squares of a signal and of what rounding adds to it.
struct Noise {
  double signal = 0, noise = 0;

  void add(const at::Tensor& exact, const at::Tensor& rounded) {
    signal += exact.square().sum(at::kDouble).item<double>();
    noise += exact.sub(rounded).square_().sum(at::kDouble).item<double>();
  }
  double sqnr_db() const { return edgecompress::sqnr_db(signal, noise); }
};

at::Tensor round_to(const at::Tensor& values, const QuantizedRange& range) {
  return at::fake_quantize_per_tensor_affine(values, range.scale, range.zero_point, 0, 255);
}

/// What is summed up of a layer.
struct LayerSums {
  Noise output;
  std::optional<Noise> network;
  double clipped = 0, values = 0;
};

class Int8Doctor {
 public:
  Int8Doctor(const Model& model, const Int8Scheme& scheme)
      : model_(model), scheme_(scheme), interpreter_(model) {
    for (const Int8Op& op : scheme.plan.ops) {
      if (!op.layer) continue;
      layers_[op.node] = &op;
      ends_[op.output()->node()] = &op;
    }
  }

  /// One run of the float network, in which every layer is compared with itself in INT8. Returns
  /// the network's outputs.
  std::vector<at::Tensor> look_at_layers(const std::vector<c10::IValue>& inputs) {
    std::unordered_map<const Int8Op*, at::Tensor> rounded;
    return flatten_outputs(interpreter_.run(
        inputs,
        [&](const Node& node, c10::ArrayRef<c10::IValue> ins, c10::ArrayRef<c10::IValue> outs) {
          const auto layer = layers_.find(&node);
          if (layer != layers_.end()) rounded[layer->second] = simulated(*layer->second, ins);
          const auto end = ends_.find(&node);
          if (end == ends_.end() || !rounded.count(end->second)) return;
          compare(*end->second, outs[0].toTensor(), rounded.at(end->second));
          rounded.erase(end->second);
        }));
  }

  /// A run for each layer that look_at_layers() met, in which that one alone is INT8.
  void look_at_network(const std::vector<c10::IValue>& inputs, const std::vector<at::Tensor>& exact,
                       Progress& progress) {
    for (auto& [node, sums] : sums_) {
      const Int8Op& op = *layers_.at(node);
      if (!sums.network) sums.network = Noise();
      add_network_noise(op, inputs, exact, *sums.network);
      progress.advance();
    }
  }

  Int8Diagnosis diagnosis() const {
    Int8Diagnosis result;
    for (const auto& [node, sums] : sums_) {
      const Int8Op& op = *layers_.at(node);
      Noise weight;
      weight.add(model_.tensor(*op.layer->weight), weight_of(op));
      Int8LayerDiagnosis& found = result[node];
      found.weight_sqnr_db = weight.sqnr_db();
      found.output_sqnr_db = sums.output.sqnr_db();
      if (sums.network) found.network_sqnr_db = sums.network->sqnr_db();
      found.clipped = sums.values > 0 ? sums.clipped / sums.values : 0;
    }
    return result;
  }

 private:
  void compare(const Int8Op& op, const at::Tensor& exact, const at::Tensor& rounded) {
    LayerSums& sums = sums_[op.node];
    sums.output.add(exact, rounded);
    const QuantizedRange range = scheme_.ranges.at(op.output());
    const auto [unused, is_inside] = at::fake_quantize_per_tensor_affine_cachemask(
        exact, range.scale, range.zero_point, 0, kAffineSteps);
    const auto values = static_cast<double>(exact.numel());
    sums.clipped += values - is_inside.sum().item<double>();
    sums.values += values;
  }

  void add_network_noise(const Int8Op& op, const std::vector<c10::IValue>& inputs,
                         const std::vector<at::Tensor>& exact, Noise& noise) const {
    const auto outputs = flatten_outputs(interpreter_.run(
        inputs, {},
        [&](const Node& node, c10::ArrayRef<c10::IValue> ins) -> std::optional<c10::IValue> {
          if (&node != op.node) return std::nullopt;
          return c10::IValue(simulated(op, ins));
        }));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (exact.at(i).is_floating_point()) noise.add(exact[i], outputs[i]);
    }
  }

  /// What the layer's INT8 op would make of float inputs, a fused activation included.
  at::Tensor simulated(const Int8Op& op, c10::ArrayRef<c10::IValue> inputs) const {
    torch::jit::Stack stack(inputs.begin(), inputs.end());
    const auto range = scheme_.range_of(op.node->input(0));
    if (range) stack.at(0) = round_to(stack[0].toTensor(), *range);
    stack.at(1) = weight_of(op);
    const at::Tensor& bias = scheme_.biases.at(op.node);
    stack.at(2) = bias.defined() ? c10::IValue(bias) : c10::IValue();
    op.node->getOperation()(stack);
    return round_to(stack.at(0).toTensor(), scheme_.ranges.at(op.output()));
  }

  const at::Tensor& weight_of(const Int8Op& op) const {
    at::Tensor& weight = weights_[*op.layer->weight];
    if (!weight.defined()) weight = dequantize(scheme_.weights.at(*op.layer->weight));
    return weight;
  }

  const Model& model_;
  const Int8Scheme& scheme_;
  Interpreter interpreter_;
  std::unordered_map<const Node*, const Int8Op*> layers_, ends_;
  std::unordered_map<const Node*, LayerSums> sums_;
  mutable std::unordered_map<std::string, at::Tensor> weights_;  // made float again, once each
};

}  // namespace

Int8LayerDiagnosis worse_of(const Int8LayerDiagnosis& a, const Int8LayerDiagnosis& b) {
  Int8LayerDiagnosis worse = a;
  worse.weight_sqnr_db = std::min(a.weight_sqnr_db, b.weight_sqnr_db);
  worse.output_sqnr_db = std::min(a.output_sqnr_db, b.output_sqnr_db);
  if (a.network_sqnr_db && b.network_sqnr_db)
    worse.network_sqnr_db = std::min(*a.network_sqnr_db, *b.network_sqnr_db);
  worse.clipped = std::max(a.clipped, b.clipped);
  return worse;
}

Int8Diagnosis diagnose_int8(const Model& model, const Int8Scheme& scheme, const Dataset& data,
                            std::int64_t batch_size, Int8DiagnosisDepth depth, Progress& progress) {
  const c10::InferenceMode inference;
  const bool has_network = depth == Int8DiagnosisDepth::kNetwork;
  const auto layers = std::max<std::int64_t>(static_cast<std::int64_t>(scheme.weights.size()), 1);
  const std::int64_t wanted =
      has_network ? std::clamp(kMostNetworkRuns / layers, kFewestNetworkSamples, kNetworkSamples)
                  : kLayerSamples;
  // A traced network may take whole batches of its example's size alone.
  const std::int64_t unit =
      model.inputs().empty() ? 1 : std::max<std::int64_t>(model.inputs()[0].shape.at(0), 1);
  const std::int64_t samples = std::min(data.size(), (wanted + unit - 1) / unit * unit);
  const std::int64_t batches = (samples + batch_size - 1) / batch_size;
  Int8Doctor doctor(model, scheme);
  progress.begin("diagnose", batches * (has_network ? layers + 1 : 1));
  for (std::int64_t first = 0; first < samples; first += batch_size) {
    std::vector<std::int64_t> indices;  // evenly spread: sets are often sorted by class
    for (std::int64_t i = first; i < std::min(first + batch_size, samples); ++i)
      indices.push_back(i * data.size() / samples);
    const Batch batch = data.read(indices, /*seed=*/0);
    const std::vector<c10::IValue> inputs(batch.inputs.begin(), batch.inputs.end());
    const std::vector<at::Tensor> outputs = doctor.look_at_layers(inputs);
    if (has_network) doctor.look_at_network(inputs, outputs, progress);
    progress.advance();
  }
  progress.end();
  return doctor.diagnosis();
}

}  // namespace edgecompress
