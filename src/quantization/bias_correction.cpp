#include "quantization/bias_correction.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "model/layers.h"
#include "quantization/simulated_int8.h"
#include "train/paired_sweep.h"

namespace edgecompress {
namespace {

/// Sums over everything but the channels: the last dimension of a linear layer's output, that
/// before the `spatial` ones of a convolution's.
class ChannelMeans {
 public:
  explicit ChannelMeans(const SimulatedLayer& layer)
      : behind_(op_of(layer.after) == "aten::linear" ? 0 : layer.weight.dim() - 2) {}

  void add(const at::Tensor& output, const at::Tensor& simulated) {
    missing_ = missing_ + of_channels(output.to(at::kDouble) - simulated.to(at::kDouble));
    squares_ = squares_ + of_channels(output.to(at::kDouble).square());
    sums_ = sums_ + of_channels(output.to(at::kDouble));
    count_ += static_cast<double>(output.numel()) / static_cast<double>(channels(output));
  }

  at::Tensor missing() const { return missing_ / count_; }
  /// Of all channels together.
  double deviation() const {
    const at::Tensor variance = squares_ / count_ - (sums_ / count_).square();
    return variance.clamp_min(0).mean().sqrt().item<double>();
  }

 private:
  std::int64_t channels(const at::Tensor& output) const {
    return output.size(output.dim() - 1 - behind_);
  }
  at::Tensor of_channels(const at::Tensor& values) const {
    return values.transpose(0, values.dim() - 1 - behind_).flatten(1).sum(1);
  }

  std::int64_t behind_;
  at::Tensor missing_ = at::zeros({1}, at::kDouble), squares_ = at::zeros({1}, at::kDouble),
             sums_ = at::zeros({1}, at::kDouble);
  double count_ = 0;
};

at::Tensor run(const torch::jit::Node* node, const std::vector<c10::IValue>& inputs) {
  torch::jit::Stack stack = inputs;
  node->getOperation()(stack);
  return stack.back().toTensor();
}

}  // namespace

BiasCorrection correct_biases(const Model& model, Int8Scheme& scheme,
                              std::shared_ptr<const Dataset> data, std::int64_t batch_size,
                              Progress& progress) {
  const at::NoGradGuard no_grad;
  const SimulatedInt8 simulated(model, scheme);
  PairedSweep sweep(model, simulated.model(), std::move(data), batch_size);
  BiasCorrection result;
  progress.begin("correct biases", static_cast<std::int64_t>(simulated.layers().size()));
  for (const SimulatedLayer& layer : simulated.layers()) {
    ChannelMeans means(layer);
    const bool is_seen = sweep.show(layer.before, layer.after, [&](const PairedLayer& seen) {
      means.add(seen.output_before, run(layer.after, seen.inputs_after));
    });
    progress.advance(1, layer.name);
    if (!is_seen) continue;
    const at::Tensor missing = means.missing();
    layer.bias.add_(missing.to(at::kFloat));
    scheme.biases[layer.before] = layer.bias.clone();
    ++result.layers;
    const double deviation = means.deviation();
    if (deviation > 0) {
      result.largest_shift =
          std::max(result.largest_shift, missing.abs().max().item<double>() / deviation);
    }
  }
  progress.end();
  return result;
}

}  // namespace edgecompress
