// One run of a model, node by node, with what each node was given: sizes instead of activations, so
// that it costs no memory; numbers, lists and whatever hangs on attributes alone as they were.
// Where no size hangs on what is in an activation, and nothing is written in place, layers and ops
// on single elements only make one zero, expanded to the right sizes, so that it costs little time.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/ir/ir.h>

#include <unordered_set>
#include <vector>

namespace edgecompress {

class Model;

struct RecordedStep {
  const torch::jit::Node* node;
  std::vector<c10::IValue> inputs, outputs;
};

struct RecordedRun {
  /// In execution order; of a prim::If the steps of the branch taken stand before it.
  std::vector<RecordedStep> steps;
  /// Tensors computed from attributes and constants alone.
  std::unordered_set<const torch::jit::Value*> statics;
};

/// A tensor of these sizes that holds nothing.
at::Tensor placeholder(at::IntArrayRef sizes);

RecordedRun record_run(const Model& model, const std::vector<at::Tensor>& inputs);

}  // namespace edgecompress
