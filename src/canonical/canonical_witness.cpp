#include "canonical/canonical_witness.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <algorithm>
#include <exception>

#include "model/interpreter.h"

namespace edgecompress::canonical {

namespace {

constexpr std::uint64_t kSeed = 0;

Agreement agreement_of(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return Agreement::kDifferent;
  if (a.numel() == 0 || at::allclose(a, b, 0, 0, /*equal_nan=*/true)) return Agreement::kSame;
  if (!a.is_floating_point()) return Agreement::kDifferent;
  const at::Tensor wide_a = a.to(at::kDouble), wide_b = b.to(at::kDouble);
  const double scale = wide_a.abs().max().item<double>();
  const double difference = (wide_a - wide_b).abs().max().item<double>();
  return difference <= 1e-4 * scale ? Agreement::kRounded : Agreement::kDifferent;
}

Agreement agreement_of(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return Agreement::kDifferent;
  Agreement worst = Agreement::kSame;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, agreement_of(a[i], b[i]));
  return worst;
}

/// A fresh copy, so that a model with state starts from the same one each time.
std::vector<at::Tensor> answer_of(const torch::jit::Module& module,
                                  const std::vector<c10::IValue>& batch) {
  const at::NoGradGuard no_gradients;
  const torch::jit::GraphOptimizerEnabledGuard as_written(false);
  torch::jit::Module copy = module.clone();
  copy.eval();
  return flatten_outputs(copy.forward(batch));
}

bool writes_state(torch::jit::Graph& graph) {
  const auto nodes = all_nodes(graph.block());
  return std::any_of(nodes.begin(), nodes.end(), [](const torch::jit::Node* node) {
    return node->kind() == c10::prim::SetAttr;
  });
}

std::vector<at::Tensor> answer_of(const torch::jit::Module& module, torch::jit::Graph& graph,
                                  const std::vector<c10::IValue>& batch) {
  const at::NoGradGuard no_gradients;
  const torch::jit::Module self = writes_state(graph) ? module.deepcopy() : module;
  return flatten_outputs(Interpreter(graph, self._ivalue()).run(batch));
}

}  // namespace

Witness::Witness(const torch::jit::Module& module, const std::vector<InputSpec>& inputs) {
  if (inputs.empty()) {
    limits_.push_back("no example input was given, so conditions on shapes stay undecided");
    return;
  }
  const std::int64_t batch_size = inputs[0].shape.empty() ? 1 : inputs[0].shape[0];
  if (!add_batch(module, inputs, batch_size)) {
    limits_.push_back("the example input does not run, so conditions on shapes stay undecided");
    return;
  }
  // Batch 1 is the one that models treat specially, so it is always among the two.
  const std::int64_t other_size = batch_size == 1 ? 3 : 1;
  if (!add_batch(module, inputs, other_size)) {
    limits_.push_back("the batch size is fixed to " + std::to_string(batch_size) +
                      ": the model does not run at " + std::to_string(other_size));
  }
  is_repeatable_ = agreement_of(answer_of(module, batches_[0]), original_[0]) == Agreement::kSame;
  if (!is_repeatable_) {
    limits_.push_back("the same input gives another output each time, so only shapes are compared");
  }
}

bool Witness::add_batch(const torch::jit::Module& module, const std::vector<InputSpec>& inputs,
                        std::int64_t batch_size) {
  try {
    std::vector<c10::IValue> batch;
    for (const auto& input : make_example_inputs(inputs, batch_size, kSeed)) batch.push_back(input);
    original_.push_back(answer_of(module, batch));
    batches_.push_back(std::move(batch));
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

Answers Witness::ask(const torch::jit::Module& module, torch::jit::Graph& graph) const {
  Answers answers;
  for (const auto& batch : batches_) answers.push_back(answer_of(module, graph, batch));
  return answers;
}

Agreement Witness::compare(const Answers& a, const Answers& b) const {
  Agreement worst = Agreement::kSame;
  for (std::size_t i = 0; is_repeatable_ && i < batches_.size(); ++i) {
    worst = std::max(worst, agreement_of(a[i], b[i]));
  }
  return worst;
}

}  // namespace edgecompress::canonical
