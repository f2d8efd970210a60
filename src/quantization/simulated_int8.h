// A network and the simulation of its INT8 form, whose weights and biases can be changed layer by
// layer while both run: what bias correction and rounding are fitted on.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <string>
#include <vector>

#include "int8/int8_scheme.h"
#include "model/model.h"

namespace edgecompress {

/// A layer of the scheme's plan.
struct SimulatedLayer {
  std::string name, weight_name;
  const torch::jit::Node *before, *after;  ///< in the network and in the simulation
  /// Of the simulation, float32, to be changed in place; layers that share a weight share it. The
  /// bias is zeros where the layer has none.
  at::Tensor weight, bias;
};

class SimulatedInt8 {
 public:
  /// The scheme must be that of `model`.
  SimulatedInt8(const Model& model, const Int8Scheme& scheme);

  const Model& model() const { return model_; }
  const std::vector<SimulatedLayer>& layers() const { return layers_; }  ///< in execution order

 private:
  Model model_;
  std::vector<SimulatedLayer> layers_;
};

}  // namespace edgecompress
