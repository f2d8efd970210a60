// Batch norms that keep their running statistics while the rest trains.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <utility>
#include <vector>

#include "model/model.h"

namespace edgecompress {

/// While it lives, every batch norm normalises by its stored statistics, in training mode too, and
/// they stay; scales and shifts can train. The model must outlive it, and nobody else may edit its
/// batch norms meanwhile.
class FrozenBatchNorms {
 public:
  explicit FrozenBatchNorms(Model& model);
  ~FrozenBatchNorms();
  FrozenBatchNorms(const FrozenBatchNorms&) = delete;
  FrozenBatchNorms& operator=(const FrozenBatchNorms&) = delete;

 private:
  Model& model_;
  torch::jit::Value* is_training_;  ///< a constant that says no
  std::vector<std::pair<torch::jit::Node*, torch::jit::Value*>> norms_;  ///< and what they read
};

}  // namespace edgecompress
