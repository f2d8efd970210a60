// Weights in 8 or 4 bits that are made float again where they are used: for networks whose memory,
// not whose speed, is the matter. Activations stay float.
//
//   8 bits   w = s q            q in [-127, 127], int8
//   4 bits   w = s (q - z)      q in [0, 15], two in a byte: the first half of a row's columns in
//                               the low bits, the second half in the high ones; z in [0, 15]
//
// One scale s (and z) for each row and each group of columns. What LibTorch can execute: 1.13 has
// no CPU kernel that multiplies with such weights, and one of a later version would not load in it,
// so the graph holds plain ops (shift, mask, multiply) that every PyTorch runs, and linear layers
// compute the whole float weight anew in every run: the file and the memory at rest shrink, a run
// takes longer, by much at small batches. Embeddings make only the rows that are looked up, at next
// to no cost. Where somebody freezes the file, the float weights come back as constants.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "int8/gptq.h"
#include "int8/int8_plan.h"
#include "model/layer_filter.h"
#include "model/model.h"

namespace edgecompress {

struct WeightOnlyOptions {
  std::int64_t bits = 8;               ///< 8 or 4
  std::int64_t group_size = 64;        ///< most columns that share a scale; 0: a whole row
  std::int64_t smallest_size = 16384;  ///< weights of fewer numbers stay float
};

/// A weight of linear layers and embeddings, [rows, columns].
struct WeightOnlyTarget {
  std::string layer, weight;               ///< dotted names
  std::vector<torch::jit::Node*> readers;  ///< aten::linear and aten::embedding
  bool is_linear = false;                  ///< of all readers
};

struct WeightOnlyTargets {
  std::vector<WeightOnlyTarget> targets;
  std::vector<Int8Layer> float_layers;  ///< linear layers and embeddings that are none, and why
};

WeightOnlyTargets find_weight_only_targets(Model& model, const LayerFilter& filter,
                                           const WeightOnlyOptions& options);

/// The steps that a weight is rounded to. Groups are as wide as the row allows: the largest divisor
/// of its columns up to group_size, a whole row if that is less than 8.
/// Throws Error(kPass) if the weight is not finite.
RoundingGrid weight_only_grid(const at::Tensor& weight, const WeightOnlyOptions& options);

/// Puts q (see RoundingGrid) in the place of the float weight; returns the bytes stored now.
std::int64_t store_weight_only(Model& model, const WeightOnlyTarget& target, const at::Tensor& q,
                               const RoundingGrid& grid, std::int64_t bits);

}  // namespace edgecompress
