// What static INT8 will compute with, as plain data: found by calibration, rounding and correction
// while the graph is still float. int8_rewrite.h carries it out.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <optional>
#include <string>
#include <unordered_map>

#include "int8/int8_plan.h"
#include "int8/quantized.h"
#include "model/model.h"

namespace edgecompress {

struct Int8Scheme {
  Int8Plan plan;
  /// Of every value of plan.measured.
  std::unordered_map<const torch::jit::Value*, QuantizedRange> ranges;
  /// Of the layers of the plan, by the weight's dotted name: layers that share it share this.
  std::unordered_map<std::string, QuantizedWeight> weights;
  /// Of the layers of the plan, by Int8Op::node; undefined for none.
  std::unordered_map<const torch::jit::Node*, at::Tensor> biases;

  /// Of a value that will be INT8 or that an INT8 op reads: its own, or what follows from that of
  /// the value which an op of Int8Form::kSame made it from; nothing for other values.
  std::optional<QuantizedRange> range_of(const torch::jit::Value* value) const;

  /// The same for a clone of the model that the scheme was made for, neither edited since.
  Int8Scheme on(const Model& clone) const;
  /// The same numbers for a plan in which more layers are refused. `model` is the one that the
  /// scheme was made for.
  Int8Scheme without(Model& model, const LayerRefusal& refusal) const;
};

/// Rounds every weight of the plan's layers, those of transposed convolutions with one scale a
/// tensor (LibTorch takes no others); their biases stay as they are.
/// Throws Error(kPass) naming a layer whose weights are not finite.
void quantize_weights(Int8Scheme& scheme, const Model& model, const WeightScheme& weights);

/// Values that only a concatenation reads take its range: they are rounded once instead of twice,
/// and the concatenation only copies.
void share_ranges_with_concatenations(Int8Scheme& scheme);

}  // namespace edgecompress
