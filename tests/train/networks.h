// Networks and data for the tests of training, small enough to compute by hand.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

#include <memory>

#include "data/tensor_dataset.h"
#include "model/model.h"

namespace edgecompress::testing {

/// y = W x + b.
inline Model linear_model(const at::Tensor& weight, const at::Tensor& bias) {
  torch::jit::Module layer("__torch__.Linear");
  layer.register_attribute("training", c10::BoolType::get(), true);
  layer.register_parameter("weight", weight.clone().set_requires_grad(true), false);
  layer.register_parameter("bias", bias.clone().set_requires_grad(true), false);
  layer.define("def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n");
  torch::jit::Module net("__torch__.Net");
  net.register_attribute("training", c10::BoolType::get(), true);
  net.register_module("fc", layer);
  net.define("def forward(self, x):\n  return self.fc.forward(x)\n");
  return Model::from_module(net, {{{1, weight.size(1)}}});
}

inline std::shared_ptr<const Dataset> data_of(const at::Tensor& inputs, const at::Tensor& target) {
  return std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs}, target);
}

}  // namespace edgecompress::testing
