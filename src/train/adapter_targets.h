// Which layers of a network can have adapters.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/layer_filter.h"
#include "model/layers.h"
#include "model/model.h"

namespace edgecompress {

/// A weight, and the nodes that multiply with it (several where it is shared).
struct AdapterTarget {
  std::string module;  ///< the layer's name; the weight's where several weights have one layer
  std::string weight;  ///< dotted name
  LayerKind kind = LayerKind::kLinear;  ///< of the first reader
  std::vector<torch::jit::Node*> readers;
  /// The operator of all readers; "" where they differ.
  std::string op;
  bool keeps_zeros = true;  ///< whether zeros of the weight may be pruned ones
};

struct AdapterTargets {
  struct Left {
    std::string layer, reason;
  };
  std::vector<AdapterTarget> targets;  ///< in execution order
  std::vector<Left> left;              ///< layers that the filter accepts and no adapter can have
};

/// Linear layers, convolutions (1-D to 3-D, transposed, any groups) and, with `has_embeddings`,
/// embeddings whose name the filter accepts, all of whose readers it accepts. What else the filter
/// accepts of such layers is left, and why. `stand_ins`: names of layers by the float weights that
/// stand for their INT8 ones; those have zeros by rounding.
AdapterTargets find_adapter_targets(const Model& model, const LayerFilter& filter,
                                    bool has_embeddings,
                                    const std::map<std::string, std::string>& stand_ins = {});

}  // namespace edgecompress
