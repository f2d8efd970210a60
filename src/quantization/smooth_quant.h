// SmoothQuant: moves scale from activations, where single channels can be far larger than all
// others, into the weights that read them, which have room.
//
//   X' = X diag(s)^-1      W' = W diag(s)      s_i = max|X_i|^alpha / max|W_i|^(1 - alpha)
//
// Per input channel i of linear layers; the inverse goes into the layer norm or linear layer that
// makes the channel. Xiao et al. 2023, "SmoothQuant: Accurate and Efficient Post-Training
// Quantization for Large Language Models", eq. 4.
#pragma once

#include <cstdint>
#include <memory>

#include "data/dataset.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

struct SmoothQuant {
  std::int64_t channels = 0;  ///< that were scaled; channels read by several layers count once
  std::int64_t layers = 0;    ///< linear layers that read them
  /// Largest max|X_i| over the median one, the worst of the layers.
  double spread_before = 1, spread_after = 1;
};

/// Leaves the network's function as it is, to float tolerance. Only channels that linear layers
/// alone read, and whose makers can take a factor up (see scale_flow.h). `alpha` in [0, 1]: how
/// much of the activations' scale moves. Runs the data through the network once.
SmoothQuant smooth_activations(Model& model, double alpha, std::shared_ptr<const Dataset> data,
                               std::int64_t batch_size, Progress& progress);

}  // namespace edgecompress
