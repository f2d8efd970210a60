// What adapters compute, each written once, as TorchScript: the training graph gets it inserted,
// merging evaluates it, so both are the same to the last bit.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "train/adapter.h"

namespace edgecompress {

/// One function of tensors and numbers.
class AdapterExpression {
 public:
  /// A method's text; `self` is not read.
  explicit AdapterExpression(const std::string& method);

  at::Tensor evaluate(const std::vector<c10::IValue>& arguments) const;
  /// Inserts its nodes at the graph's insert point; adds them to `nodes`, in order.
  torch::jit::Value* insert(torch::jit::Graph& graph,
                            const std::vector<torch::jit::Value*>& arguments,
                            std::vector<torch::jit::Node*>& nodes) const;

 private:
  torch::jit::Module module_;
  std::shared_ptr<torch::jit::Graph> graph_;
};

/// (weight, a, b, scale: float[, zeros][, magnitude]) -> what is added to the weight, of
/// `dimensions`. `zeros` and `magnitude` are there if the adapter has them.
/// Its factor of B A is change_scale().
AdapterExpression change_expression(const Adapter& adapter, std::int64_t dimensions,
                                    bool has_zeros);

/// (y, x, a, b, scale: float) -> y of a linear layer with what the adapter adds to it; the change
/// of the weight is never made.
AdapterExpression linear_expression();
/// (y, indices, padding: int, a, b, scale: float) -> the same of an embedding.
AdapterExpression embedding_expression();
/// (y, base, x, weight, a, b, scale: float, magnitude[, bias]) -> the same of a linear layer with
/// DoRA; base: the layer's output without any adapter.
AdapterExpression dora_expression(bool has_bias);

}  // namespace edgecompress
