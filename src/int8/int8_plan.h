// Which nodes of a float graph will run in INT8, and why the others will not. Nothing is changed
// here; int8_rewrite.h carries the plan out.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "int8/int8_kernels.h"
#include "int8/quantized.h"
#include "model/layers.h"

namespace edgecompress {

/// One float op, and the activation after it, that become one INT8 op.
struct Int8Op {
  using Form = Int8Form;
  Form form;
  torch::jit::Node* node = nullptr;
  torch::jit::Node* activation = nullptr;  ///< a clamp to [0, bound] that the range carries out
  std::optional<Layer> layer;              ///< where the weight is INT8
  std::string norm;                        ///< name of the layer where it has float weights
  ConvGeometry geometry;                   ///< of convolutions

  torch::jit::Value* output() const { return (activation ? activation : node)->outputs()[0]; }
  /// What it reads as INT8.
  std::vector<torch::jit::Value*> operands() const;
  bool has_own_range() const { return form != Form::kSame; }
};

/// A layer as the report shows it.
struct Int8Layer {
  std::string name;
  bool is_int8 = false;
  std::string reason;  ///< why it stays float, or how it runs ("static", "dynamic")
  std::optional<QuantizedRange> output;    ///< of static INT8 layers
  const torch::jit::Node* node = nullptr;  ///< that computes it, in the graph as it is now
};

struct Int8Plan {
  std::vector<Int8Op> ops;                         ///< in execution order
  std::vector<const torch::jit::Value*> measured;  ///< values whose range calibration must find
  std::vector<Int8Layer> float_layers;
};

/// Why a layer is to stay float; "" if it need not.
using LayerRefusal = std::function<std::string(const Layer&)>;

/// Plans static INT8: every convolution and linear layer that is not refused, and what lies
/// between them as long as it has an INT8 kernel, so that values stay INT8 from layer to layer.
/// Activations and norms that only float ops read stay float: rounding them would gain nothing.
/// Dropouts and foldable batch norms should be gone. `has_range` says whether a value's range is
/// known: always true before calibration; after it, false for what the data never reached.
Int8Plan plan_static_int8(Model& model, const LayerRefusal& refusal,
                          const std::function<bool(const torch::jit::Value*)>& has_range);

}  // namespace edgecompress
