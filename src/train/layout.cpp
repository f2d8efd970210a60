#include "train/layout.h"

#include <ATen/ATen.h>

#include <exception>

#include "model/layers.h"

namespace edgecompress {

namespace {

/// oneDNN 2.6 writes beyond its memory in the backward pass of strided 1x1 convolutions in
/// channels_last with fewer than 8 input channels, as pruned networks have them.
bool is_unsafe(const at::Tensor& weight) {
  return weight.size(1) < 8 && weight.size(2) == 1 && weight.size(3) == 1;
}

std::vector<at::Tensor> weights_of_2d_convolutions(Model& model) {
  std::vector<at::Tensor> weights;
  for (const Layer& layer : find_layers(model)) {
    if (layer.kind != LayerKind::kConv || !layer.weight) continue;
    at::Tensor weight = model.tensor(*layer.weight);
    if (weight.dim() != 4) continue;
    if (is_unsafe(weight)) return {};
    weights.push_back(std::move(weight));
  }
  return weights;
}

void store(std::vector<at::Tensor>& weights, at::MemoryFormat format) {
  const at::NoGradGuard no_grad;
  // A clone, since contiguous() leaves the odd strides of 1x1 kernels as they are.
  for (at::Tensor& weight : weights) weight.set_data(weight.detach().clone(format));
}

bool are_close(const std::vector<at::Tensor>& left, const std::vector<at::Tensor>& right) {
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (!at::allclose(left[i], right[i], /*rtol=*/1e-3, /*atol=*/1e-4, /*equal_nan=*/true)) {
      return false;
    }
  }
  return true;
}

}  // namespace

ChannelsLast::ChannelsLast(Model& model, const std::vector<at::Tensor>& sample)
    : weights_(weights_of_2d_convolutions(model)) {
  if (weights_.empty()) return;
  try {
    const at::NoGradGuard no_grad;
    const auto expected = model.forward(sample);
    store(weights_, at::MemoryFormat::ChannelsLast);
    if (!are_close(expected, model.forward(lay_out(sample)))) restore();
  } catch (const std::exception&) {
    restore();
  }
}

ChannelsLast::~ChannelsLast() { restore(); }

void ChannelsLast::restore() {
  store(weights_, at::MemoryFormat::Contiguous);
  weights_.clear();
}

std::vector<at::Tensor> ChannelsLast::lay_out(const std::vector<at::Tensor>& inputs) const {
  std::vector<at::Tensor> laid_out = inputs;
  for (at::Tensor& input : laid_out) {
    const bool is_image = is_used() && input.dim() == 4;
    input =
        input.contiguous(is_image ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  }
  return laid_out;
}

}  // namespace edgecompress
