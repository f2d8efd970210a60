// Merges a batch norm into the layer before it. Shared by fold_batch_norm and quantize_int8.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"

namespace edgecompress {

/// What a batch norm does in eval mode: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta,
/// per channel. `gamma` and `beta` may be undefined (1 and 0).
struct BatchNormStatistics {
  at::Tensor mean, variance, gamma, beta;  ///< [channels]
  double epsilon = 1e-5;
};

struct FoldedWeights {
  at::Tensor weight;  ///< shape and dtype of the original
  at::Tensor bias;    ///< [out_channels], dtype of the weight
};

/// w' = w * g, b' = (b - mean) * g + beta with g = gamma / sqrt(variance + epsilon), computed in
/// double. Output channels are axis 0, or, of a transposed convolution ([in, out / groups, ...]),
/// axis 1 within each group. `bias` may be undefined.
FoldedWeights fold_statistics(const at::Tensor& weight, const at::Tensor& bias,
                              const BatchNormStatistics& statistics, bool is_transposed,
                              std::int64_t groups);

struct BatchNormFolding {
  struct Kept {
    std::string name;    ///< of the batch norm
    std::string reason;  ///< why it can't be folded
  };
  std::int64_t folded = 0;
  std::vector<Kept> kept;
};

/// Folds every batch norm that alone reads the output of a convolution (transposed too) or linear
/// layer; weights keep their names, what nobody reads any more is removed.
BatchNormFolding fold_batch_norms(Model& model);

}  // namespace edgecompress
