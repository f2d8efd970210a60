#include "quantization/smooth_quant.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "channels/scale_flow.h"
#include "model/interpreter.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;

namespace {

/// max|X_i| of what linear layers read, over the data: float64 [channels].
std::unordered_map<const Node*, at::Tensor> largest_inputs(const Model& model,
                                                           const ScaleFlow& flow,
                                                           std::shared_ptr<const Dataset> data,
                                                           std::int64_t batch_size,
                                                           Progress& progress) {
  const at::NoGradGuard no_grad;
  std::unordered_map<const Node*, at::Tensor> largest;
  const Interpreter interpreter(model);
  progress.begin("smooth", data->size());
  Loader loader(std::move(data), batch_size);
  for (Batch batch; loader.next(batch);) {
    interpreter.run(
        {batch.inputs.begin(), batch.inputs.end()},
        [&](const Node& node, c10::ArrayRef<c10::IValue> inputs, c10::ArrayRef<c10::IValue>) {
          if (op_of(&node) != "aten::linear" || flow.read.count(&node) == 0) return;
          const at::Tensor x = inputs[0].toTensor();
          const at::Tensor most = x.reshape({-1, x.size(-1)}).abs().amax(0).to(at::kDouble);
          const auto [known, is_new] = largest.emplace(&node, most);
          if (!is_new) known->second = at::maximum(known->second, most);
        });
    progress.advance(batch.size);
  }
  progress.end();
  return largest;
}

/// By free cell: the largest of what was given.
class LargestByCell {
 public:
  explicit LargestByCell(std::int64_t cells) : values_(at::zeros({cells}, at::kDouble)) {}

  /// `numbers` may hold -1, for fixed cells.
  void add(const at::Tensor& numbers, const at::Tensor& values) {
    const at::Tensor cells = numbers.contiguous(), given = values.contiguous();
    const auto* cell = cells.data_ptr<std::int64_t>();
    const auto* value = given.data_ptr<double>();
    auto* largest = values_.data_ptr<double>();
    for (std::int64_t i = 0; i < cells.numel(); ++i) {
      if (cell[i] >= 0) largest[cell[i]] = std::max(largest[cell[i]], value[i]);
    }
  }
  const at::Tensor& values() const { return values_; }

 private:
  at::Tensor values_;
};

double spread(const at::Tensor& largest) {
  const double median = largest.median().item<double>();
  return median > 0 ? largest.max().item<double>() / median : 1;
}

}  // namespace

SmoothQuant smooth_activations(Model& model, double alpha, std::shared_ptr<const Dataset> data,
                               std::int64_t batch_size, Progress& progress) {
  ScaleFlow flow = find_scale_flow(model);
  const auto largest = largest_inputs(model, flow, std::move(data), batch_size, progress);
  for (const ScaledWeight& weight : flow.weights) flow.free_cells(weight.inputs);
  for (const auto& [node, cells] : flow.read) flow.free_cells(cells);

  LargestByCell activations(flow.free_count()), weights(flow.free_count());
  for (const auto& [node, most] : largest)
    activations.add(flow.free_cells(flow.read.at(node)), most);
  for (const ScaledWeight& scaled : flow.weights) {
    const at::Tensor weight = model.tensor(scaled.weight).detach().abs().to(at::kDouble);
    weights.add(flow.free_cells(scaled.inputs).flatten(),
                weight.reshape({weight.size(0), weight.size(1), -1}).amax(2).flatten());
  }
  const at::Tensor x = activations.values(), w = weights.values();
  const at::Tensor can_be = (x > 0) & (w > 0);
  const at::Tensor s = x.pow(alpha) / w.pow(1 - alpha);
  const at::Tensor factors = at::where(can_be, 1 / s, at::ones_like(s));

  SmoothQuant result;
  result.channels = can_be.sum().item<std::int64_t>();
  const at::Tensor with_fixed = at::cat({factors, at::ones({1}, at::kDouble)});
  for (const auto& [node, most] : largest) {
    const at::Tensor numbers = flow.free_cells(flow.read.at(node));
    if ((numbers < 0).all().item<bool>()) continue;
    const at::Tensor factor =
        with_fixed.take(at::where(numbers < 0, at::full_like(numbers, factors.numel()), numbers));
    ++result.layers;
    result.spread_before = std::max(result.spread_before, spread(most));
    result.spread_after = std::max(result.spread_after, spread(most * factor));
  }
  scale_channels(model, flow, factors);
  return result;
}

}  // namespace edgecompress
