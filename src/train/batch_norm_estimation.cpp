#include "train/batch_norm_estimation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/interpreter.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;

namespace {

// Inputs of aten::batch_norm.
constexpr std::size_t kGamma = 1, kBeta = 2, kMean = 3, kVariance = 4, kMomentum = 6, kEpsilon = 7;

/// Sums of one batch norm's inputs.
struct Statistics {
  std::string mean_name, variance_name;
  at::Tensor sums, squares;
  double count = 0;

  void add(const at::Tensor& input) {
    const at::Tensor x = input.detach().to(at::kDouble).transpose(0, 1).flatten(1);
    sums = count > 0 ? sums + x.sum(1) : x.sum(1);
    squares = count > 0 ? squares + x.square().sum(1) : x.square().sum(1);
    count += static_cast<double>(x.size(1));
  }
  at::Tensor mean() const { return sums / count; }
  at::Tensor variance() const {  // unbiased, as training keeps it
    return (squares / count - mean().square()).clamp_min(0) * (count / std::max(count - 1, 1.0));
  }
};

std::unordered_map<const Node*, Statistics> stored_statistics_of(const Model& model) {
  std::unordered_map<const Node*, Statistics> norms;
  std::map<std::string, int> uses;
  for (const Layer& layer : find_layers(model)) {
    if (op_of(layer.node) != "aten::batch_norm") continue;
    const std::string mean = attribute_path(layer.node->input(kMean));
    const std::string variance = attribute_path(layer.node->input(kVariance));
    if (mean.empty() || variance.empty() || !model.attribute(mean).isTensor()) continue;
    ++uses[mean];
    norms[layer.node] = {mean, variance, {}, {}, 0};
  }
  for (auto norm = norms.begin(); norm != norms.end();)
    norm = uses[norm->second.mean_name] > 1 ? norms.erase(norm) : std::next(norm);
  return norms;
}

at::Tensor normalised_by_batch(c10::ArrayRef<c10::IValue> inputs) {
  const auto optional = [](const c10::IValue& value) {
    return value.isTensor() ? value.toTensor() : at::Tensor();
  };
  return at::batch_norm(inputs[0].toTensor(), optional(inputs[kGamma]), optional(inputs[kBeta]), {},
                        {}, /*training=*/true, inputs[kMomentum].toDouble(),
                        inputs[kEpsilon].toDouble(), /*cudnn_enabled=*/false);
}

}  // namespace

BatchNormEstimation estimate_batch_norms(Model& model, std::shared_ptr<const Dataset> data,
                                         std::int64_t batch_size, Progress& progress) {
  const at::NoGradGuard no_grad;
  BatchNormEstimation result;
  auto norms = stored_statistics_of(model);
  if (norms.empty()) return result;
  const at::Device device = model.tensor(norms.begin()->second.mean_name).device();
  const Interpreter interpreter(model);
  progress.begin("estimate batch norms", data->size());
  Loader loader(std::move(data), batch_size);
  for (Batch batch; loader.next(batch);) {
    for (at::Tensor& input : batch.inputs) input = input.to(device);
    interpreter.run(
        {batch.inputs.begin(), batch.inputs.end()}, {},
        [&](const Node& node, c10::ArrayRef<c10::IValue> inputs) -> std::optional<c10::IValue> {
          const auto norm = norms.find(&node);
          // The statistics of a single number tell nothing.
          if (norm == norms.end() || inputs[0].toTensor().numel() <= inputs[0].toTensor().size(1))
            return std::nullopt;
          norm->second.add(inputs[0].toTensor());
          return c10::IValue(normalised_by_batch(inputs));
        });
    progress.advance(batch.size);
  }
  progress.end();
  for (const auto& [node, statistics] : norms) {
    if (statistics.count == 0) continue;
    const at::Tensor mean = model.tensor(statistics.mean_name);
    const at::Tensor deviation =
        model.tensor(statistics.variance_name).to(at::kDouble).clamp_min(1e-12).sqrt();
    const double shift = ((statistics.mean() - mean) / deviation).abs().max().item<double>();
    result.largest_shift = std::max(result.largest_shift, shift);
    mean.copy_(statistics.mean());
    model.tensor(statistics.variance_name).copy_(statistics.variance());
    ++result.batch_norms;
  }
  return result;
}

}  // namespace edgecompress
