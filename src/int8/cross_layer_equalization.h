// Cross-layer equalization: moves scale from channel to channel between layers that follow each
// other, until the channels of every weight have like ranges, so that one INT8 step suits them all.
//
//   W1' = S W1     b1' = S b1     W2' = W2 S^-1      with s_i = sqrt(r2_i / r1_i)
//
// r1_i: largest |weight| that makes channel i; r2_i: largest that reads it. Nagel et al. 2019,
// "Data-Free Quantization Through Weight Equalization and Bias Correction", eq. 11; where several
// layers make or read a channel, r1_i and r2_i are geometric means, weighted alike: s_i minimises
// the sum of their squared logarithms.
#pragma once

#include <cstdint>

#include "model/model.h"

namespace edgecompress {

struct Equalization {
  std::int64_t channels = 0;  ///< that were scaled; coupled ones count once
  std::int64_t weights = 0;   ///< that changed
  std::int64_t sweeps = 0;    ///< over the network, until no factor moved by 1 %
  /// Largest channel range over the smallest, the worst of the weights that changed.
  double spread_before = 1, spread_after = 1;
};

/// Leaves the network's function as it is, to float tolerance. Batch norms should be folded: one in
/// between keeps its channels as they are, as does every op that is not positively homogeneous.
Equalization equalize_layers(Model& model);

}  // namespace edgecompress
