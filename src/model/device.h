// Where a network is trained and evaluated: the CPU, or a GPU where LibTorch has CUDA.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/model.h"

namespace edgecompress {

/// "cpu", "cuda", or "auto": CUDA where it can be used, else the CPU. Throws Error(kUsage) for CUDA
/// where LibTorch was built without it or finds no GPU.
at::Device find_device(const std::string& name);

/// While it lives, the model is on the device: its tensors, the constants of its graph, and what
/// the graph makes by naming a device. After it all is where it was; the values stay. Tensors taken
/// from the model are of before or of after: take them while it lives. The model must outlive this.
class OnDevice {
 public:
  OnDevice(Model& model, at::Device device);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  at::Tensor moved(const at::Tensor& tensor) const;  ///< undefined ones stay so
  std::vector<at::Tensor> moved(const std::vector<at::Tensor>& tensors) const;

 private:
  Model& model_;
  at::Device device_;
};

}  // namespace edgecompress
