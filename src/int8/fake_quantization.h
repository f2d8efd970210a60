// INT8 simulated in a float graph: for training through it, for asking what a layer's rounding
// costs, and for files that run where no INT8 engine is.
//
// What is simulated. Every value that the INT8 graph of a scheme holds is on the same grid,
// scale (q - zero_point) with q in [0, 255], rounded to nearest (halves to even), saturating:
//   weights        the scheme's own, as the FakeQuantizationParts spell them
//   biases         the scheme's, in float: kernels of onednn, fbgemm and x86 add them unrounded
//   activations    a clamp that the plan fuses (ReLU, ReLU6) is left to the rounding, as in INT8:
//                  no step is below 0, and it saturates where the range ends
//   ops between    by int8_kernels.h: values that are only moved stay as they are; what pools and
//                  means make is rounded to their input's grid; hardsigmoid to q / 256, a constant
//                  factor scales the grid; whatever has a range of its own (sums, products,
//                  functions, norms) to that
//   boundaries     a float value that INT8 ops read is rounded for them alone
// What is not: INT8 kernels sum integers and multiply by sx sw once, where float sums round in
// between; and some send halves away from zero. What lies near the middle of two steps can fall to
// either, so given the same inputs an op's outputs are equal or one step of its range apart (most
// are equal), and what follows sees that. Nor are the 16-bit sums simulated that overflow on x86
// without VNNI where weights use all 8 bits.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <string>

#include "int8/int8_scheme.h"
#include "model/model.h"

namespace edgecompress {

/// Where a value's steps come from.
struct QuantizedGrid {
  QuantizedRange range;
  /// The value that was calibrated for them (a key of Int8Scheme::ranges); null: the op gives
  /// its output this one.
  const torch::jit::Value* measured = nullptr;
  std::int64_t lowest = 0;  ///< q of the lowest step: that of 0 after a fused clamp
};

/// How a simulated graph spells its parts. Each call inserts what it needs at the graph's insert
/// point and returns the value that stands for the part.
class FakeQuantizationParts {
 public:
  virtual ~FakeQuantizationParts() = default;
  /// The weight of a layer of the plan, in float, on the grid of its INT8 form.
  virtual torch::jit::Value* weight(const Int8Op& op) = 0;
  virtual torch::jit::Value* bias(const Int8Op& op) = 0;
  /// `value` rounded to the grid.
  virtual torch::jit::Value* round(torch::jit::Value* value, const QuantizedGrid& grid) = 0;
};

/// Turns a model into the simulation of its INT8 form. The scheme must have been made for this very
/// model (Int8Scheme::on gives that of a clone); its plan must not be used afterwards, since fused
/// activations are gone.
void insert_fake_quantization(Model& model, const Int8Scheme& scheme, FakeQuantizationParts& parts);

/// With weights stored in INT8 and dequantized in the graph (float weights that nobody reads any
/// more are removed), and activations rounded by aten::fake_quantize_per_tensor_affine with
/// constant scales. Nothing in it trains.
void simulate_int8(Model& model, const Int8Scheme& scheme);

/// `value` rounded to the grid, whose numbers are constants; nothing trains.
torch::jit::Value* insert_rounding(torch::jit::Graph& graph, torch::jit::Value* value,
                                   const QuantizedGrid& grid);

/// A weight as a file holds it: dotted names of an int8 attribute and of one of float32 scales,
/// which broadcasts over it.
struct StoredWeight {
  std::string values, scales;
};
/// Under names that begin with `name`.
StoredWeight store_weight(Model& model, const std::string& name, const QuantizedWeight& weight);
/// The float value scales * values, computed at the insert point.
torch::jit::Value* insert_dequantized(torch::jit::Graph& graph, const Model& model,
                                      const StoredWeight& weight);

}  // namespace edgecompress
