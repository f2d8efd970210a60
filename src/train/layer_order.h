// A network's trained parameters from its input to its output, layer by layer: what learning rates
// and unfreezing by depth go along.
#pragma once

#include <string>
#include <vector>

#include "model/model.h"

namespace edgecompress {

/// The parameters `names`, grouped by the layer that they belong to, in execution order. A layer is
/// one that multiplies (linear, convolution, attention, RNN, embedding) with what follows it up to
/// the next: norms, scales, position embeddings. What comes before the first one, or is never used,
/// belongs to the first; a tensor of several layers, to the first of them.
std::vector<std::vector<std::string>> parameters_by_layer(const Model& model,
                                                          const std::vector<std::string>& names);

}  // namespace edgecompress
