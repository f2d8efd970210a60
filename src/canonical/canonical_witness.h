// Remembers what a network answers to example inputs, to tell whether a rewriting step kept it.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <string>
#include <vector>

#include "canonical/canonical_steps.h"

namespace edgecompress::canonical {

/// The outputs for each example batch.
using Answers = std::vector<std::vector<at::Tensor>>;

enum class Agreement {
  kSame,     ///< bit for bit
  kRounded,  ///< within 1e-4 of the largest value
  kDifferent
};

class Witness {
 public:
  /// Runs the module as it was loaded, at the example's batch size and at another.
  Witness(const torch::jit::Module& module, const std::vector<InputSpec>& inputs);

  /// The batches that the module runs; none without example inputs.
  const ExampleBatches& batches() const { return batches_; }
  /// What keeps it from seeing more ("the batch size is fixed").
  const std::vector<std::string>& limits() const { return limits_; }

  const Answers& original() const { return original_; }
  /// Throws what running the graph throws.
  Answers ask(const torch::jit::Module& module, torch::jit::Graph& graph) const;
  /// Of a module that never answers twice alike nothing can be told: always kSame.
  Agreement compare(const Answers& a, const Answers& b) const;

 private:
  bool add_batch(const torch::jit::Module& module, const std::vector<InputSpec>& inputs,
                 std::int64_t batch_size);

  ExampleBatches batches_;
  Answers original_;
  std::vector<std::string> limits_;
  bool is_repeatable_ = true;
};

}  // namespace edgecompress::canonical
