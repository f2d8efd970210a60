// Which channels of a network can be scaled without changing what it computes: those that layers
// make and other layers multiply with, where all that lies between is positively homogeneous,
// f(e x) = e f(x) for e > 0 (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization
// and Bias Correction", eq. 4). Cross-layer equalization and SmoothQuant choose the factors.
//
// Channels that must be scaled alike (added in a residual connection, made or read by shared
// weights) hang on one cell; a cell is fixed where an op in between is not homogeneous (ReLU6,
// sigmoid, softmax), and at the network's inputs and outputs.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "channels/channel_cells.h"
#include "model/model.h"

namespace edgecompress {

/// A weight of convolutions or linear layers, as a matrix of kernels: dimensions 0 and 1 of it.
struct ScaledWeight {
  std::string layer, weight;  ///< dotted names
  /// int32, of the weight's sizes in dimensions 0 and 1: the cell of the channel that each kernel
  /// adds to, and of the one that it multiplies.
  at::Tensor outputs, inputs;
};

/// A bias, or the weight or bias of a layer norm: what each element is scaled with.
struct ScaledVector {
  std::string tensor;  ///< dotted name
  at::Tensor cells;    ///< int32, of its sizes
};

struct ScaleFlow {
  CellSets sets;
  std::vector<ScaledWeight> weights;  ///< in execution order, shared ones once
  std::vector<ScaledVector> vectors;
  /// Of what the nodes of `weights` read: the cell of each channel, int32.
  std::unordered_map<const torch::jit::Node*, at::Tensor> read;

  /// The number of each cell that may be scaled, from 0; -1 for fixed ones.
  at::Tensor free_cells(const at::Tensor& cells);
  std::int64_t free_count() const { return static_cast<std::int64_t>(numbers_.size()); }

 private:
  std::unordered_map<Cell, std::int64_t> numbers_;
};

/// Runs the example input once. Without example inputs no channel can be followed: then empty.
ScaleFlow find_scale_flow(const Model& model);

/// Multiplies each channel of free cell i with factors[i], float64, > 0: the weights, biases and
/// norms that make it, by the factor; the weights that read it, by its inverse.
void scale_channels(Model& model, ScaleFlow& flow, const at::Tensor& factors);

}  // namespace edgecompress
