// Where a training is, as bytes: what its checkpoints hold.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "recipe/options.h"
#include "train/optimizer.h"

namespace edgecompress {

/// All that the rest of a training depends on. Random numbers need no place here: each batch draws
/// its own, seeded by its number.
struct TrainingState {
  /// Which training it is; another one's state is of no use.
  std::string training;
  std::int64_t epoch = 1;    ///< the one that goes on, 1-based
  std::int64_t batches = 0;  ///< of it that are done
  std::int64_t samples = 0;  ///< of it that are done
  double loss_sum = 0;       ///< of those samples
  Json result;               ///< what is known by now of the TrainResult, and of the best score

  /// Values in the training's own order; `averages` and `best` may be empty.
  std::vector<at::Tensor> weights, averages, best;
  std::vector<Optimizer::Memory> memory;

  void drop_tensors();
  /// In the safetensors format.
  std::string to_bytes() const;
  /// Nothing for another training than `training`. Throws Error(kData) for bytes that are no such
  /// state.
  static std::optional<TrainingState> from_bytes(const std::string& bytes,
                                                 const std::string& training);
};

/// Puts stored values into tensors. Throws Error(kData) if numbers or shapes differ.
void put_back(std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& stored);

}  // namespace edgecompress
