// Memory layout of convolutions: channels-last runs and trains faster on CPUs.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/model.h"

namespace edgecompress {

/// While it lives, the model's 2-D convolution weights are stored channels-last, if the model has
/// any and gives the same outputs for `sample` that way (a `view` of activations can refuse the
/// layout). After it they are contiguous again, so that files do not depend on it. The tensors
/// themselves stay the same ones; the model must outlive this.
class ChannelsLast {
 public:
  ChannelsLast(Model& model, const std::vector<at::Tensor>& sample);
  ~ChannelsLast();
  ChannelsLast(const ChannelsLast&) = delete;
  ChannelsLast& operator=(const ChannelsLast&) = delete;

  bool is_used() const { return !weights_.empty(); }
  /// Inputs in the layout that the model now runs fastest with.
  std::vector<at::Tensor> lay_out(const std::vector<at::Tensor>& inputs) const;

 private:
  void restore();

  std::vector<at::Tensor> weights_;
};

}  // namespace edgecompress
