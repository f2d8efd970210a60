// AdaRound: whether each weight is rounded up or down is learned, so that the layer's outputs stay
// near, not the weights.
//
//   min over V   |m - D x|^2 summed over positions  +  lambda sum (1 - |2 h(V) - 1|^beta)
//   D = s (floor(w / s) + h(V)) - w      h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1)
//
// beta falls from 20 to 2 by a cosine, so that h ends at 0 or 1. m is what the layer's outputs lack
// with float weights, given the inputs of the rounded network: reconstruction is asymmetric. Nagel
// et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization". Unlike there the
// loss is of the outputs before the activation: then it hangs on the sums of LayerMoments alone,
// and every step sees all positions. Afterwards single weights turn the other way as long as that
// lowers the first term.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace edgecompress {

/// `matrix`: [rows, columns]; `scales`: float64 [rows]; `products` [groups, columns, columns] and
/// `lacks` [groups, columns, rows / groups] as LayerMoments has them, and their `count`. Returns
/// q in [-largest, largest], float64 [rows, columns]; of a row that nothing was won for, the
/// nearest ones. Costs iterations * rows * columns^2.
at::Tensor round_adaptively(const at::Tensor& matrix, const at::Tensor& scales,
                            const at::Tensor& products, const at::Tensor& lacks, double count,
                            std::int64_t largest, std::int64_t iterations);

}  // namespace edgecompress
