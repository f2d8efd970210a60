#include "quantization/weight_rounding.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <utility>

#include "int8/gptq.h"
#include "quantization/adaround.h"
#include "quantization/simulated_int8.h"
#include "train/layer_moments.h"
#include "train/paired_sweep.h"

namespace edgecompress {
namespace {

std::map<std::string, PrunableWeight> weights_by_name(const Model& model) {
  std::map<std::string, PrunableWeight> weights;
  for (PrunableWeight& weight : find_prunable_weights(model, LayerFilter({}, {})))
    weights.emplace(weight.weight, std::move(weight));
  return weights;
}

/// "" if the weight can be fitted to what its layer computes.
std::string obstacle_of(const PrunableWeight& weight) {
  if (!weight.has_features()) return "what its weights are multiplied with can't be told apart";
  if (weight.nodes.size() > 1) return "its weights are used in several places";
  if (weight.kind == LayerKind::kConvTransposed && weight.groups > 1)
    return "it is a transposed convolution of several groups";
  if (LayerMoments(weight).is_too_wide()) return "it is too wide";
  return "";
}

/// float64 [rows, columns]
at::Tensor rounded_matrix(const at::Tensor& matrix, const at::Tensor& scales,
                          const LayerMoments& moments, RoundingMethod method, std::int64_t largest,
                          std::int64_t iterations) {
  const at::Tensor products = moments.products(/*is_centred=*/true);
  if (method == RoundingMethod::kAdaRound) {
    return round_adaptively(matrix, scales, products, moments.lacks(/*is_centred=*/true),
                            moments.count(), largest, iterations);
  }
  RoundingGrid grid;
  grid.scales = scales.unsqueeze(1);
  grid.zeros = at::zeros_like(grid.scales);
  grid.group_size = matrix.size(1);
  grid.high = static_cast<double>(largest);
  grid.low = -grid.high;
  return round_with_compensation(matrix, products, grid);
}

/// Rounds one layer of the simulation and the scheme alike.
void round_layer(const SimulatedLayer& layer, const at::Tensor& matrix, const LayerMoments& moments,
                 RoundingMethod method, std::int64_t iterations, Int8Scheme& scheme) {
  const PrunableWeight& weight = moments.weight();
  QuantizedWeight& quantized = scheme.weights.at(layer.weight_name);
  const at::Tensor scales = quantized.scales.expand({weight.rows()});
  const auto largest = quantized.values.abs().max().item<std::int64_t>();
  const at::Tensor q = rounded_matrix(matrix, scales, moments, method, largest, iterations);
  const at::Tensor change = q * scales.unsqueeze(1) - matrix.to(at::kDouble);
  const at::Tensor shift = moments.shift(
      change.reshape({weight.groups, -1, weight.columns()}).transpose(1, 2).contiguous());
  quantized.values = weight.from_matrix(q).to(at::kChar);
  layer.weight.copy_(dequantize(quantized));
  layer.bias.add_(shift.to(at::kFloat));
  scheme.biases[layer.before] = layer.bias.clone();
}

}  // namespace

WeightRounding round_weights(const Model& model, Int8Scheme& scheme, RoundingMethod method,
                             std::int64_t iterations, std::shared_ptr<const Dataset> data,
                             std::int64_t batch_size, Progress& progress) {
  const at::NoGradGuard no_grad;
  const auto weights = weights_by_name(model);
  const SimulatedInt8 simulated(model, scheme);
  PairedSweep sweep(model, simulated.model(), std::move(data), batch_size);
  WeightRounding result;
  progress.begin("round weights", static_cast<std::int64_t>(simulated.layers().size()));
  for (const SimulatedLayer& layer : simulated.layers()) {
    const PrunableWeight& weight = weights.at(layer.weight_name);
    std::string obstacle = obstacle_of(weight);
    if (obstacle.empty()) {
      const at::Tensor matrix = weight.to_matrix(model.tensor(layer.weight_name));
      LayerMoments moments(weight);
      const bool is_seen = sweep.show(layer.before, layer.after, [&](const PairedLayer& seen) {
        moments.add(*layer.before, seen.input_after(), moments.rows_of(seen.output_before), matrix,
                    layer.bias, seen.share);
      });
      if (is_seen) {
        round_layer(layer, matrix, moments, method, iterations, scheme);
        ++result.layers;
      } else {
        obstacle = "it runs in a branch or in a loop";
      }
    }
    if (!obstacle.empty()) result.notes.push_back(layer.name + ": " + obstacle);
    progress.advance(1, layer.name);
  }
  progress.end();
  return result;
}

}  // namespace edgecompress
