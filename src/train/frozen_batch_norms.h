// Batch norms that a training leaves alone: they go on normalising by their running statistics, as
// in eval mode, and these stay as they are.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <vector>

#include "model/layers.h"
#include "model/model.h"

namespace edgecompress {

class FrozenBatchNorms {
 public:
  /// Those that `is_frozen` says so of (empty: all), while this lives; scales and shifts can train.
  /// The model must outlive it.
  explicit FrozenBatchNorms(Model& model, const std::function<bool(const Layer&)>& is_frozen = {});
  ~FrozenBatchNorms();
  FrozenBatchNorms(const FrozenBatchNorms&) = delete;
  FrozenBatchNorms& operator=(const FrozenBatchNorms&) = delete;

  std::size_t size() const { return frozen_.size(); }

 private:
  /// A batch norm, and what told it whether it is in training.
  struct Frozen {
    torch::jit::Node* node;
    torch::jit::Value* training;
  };

  Model& model_;
  torch::jit::Value* eval_ = nullptr;  ///< the constant False that they read meanwhile
  std::vector<Frozen> frozen_;
};

}  // namespace edgecompress
