// Remembers what a network answers to example inputs, to tell whether a rewriting step kept it.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <string>
#include <vector>

#include "model/canonical_steps.h"

namespace edgecompress::canonical {

class Witness {
 public:
  /// Runs the module as it was loaded, at the example's batch size and at another.
  Witness(const torch::jit::Module& module, const std::vector<InputSpec>& inputs);

  /// The batches that the module runs; none without example inputs.
  const ExampleBatches& batches() const { return batches_; }
  /// What keeps it from seeing more ("the batch size is fixed").
  const std::vector<std::string>& limits() const { return limits_; }

  /// "" if the draft answers as before, bit for bit unless `may_round`; else how it differs. An
  /// answer that was rounded is what later drafts are compared with.
  std::string complaint_about(const Draft& draft, bool may_round);

 private:
  bool add_batch(const torch::jit::Module& module, const std::vector<InputSpec>& inputs,
                 std::int64_t batch_size);

  ExampleBatches batches_;
  std::vector<std::vector<at::Tensor>> answers_;
  std::vector<std::string> limits_;
  bool is_repeatable_ = true;
};

}  // namespace edgecompress::canonical
