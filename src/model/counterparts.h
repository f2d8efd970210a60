// Nodes and values of a graph, and what they are in a copy of it.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <unordered_map>

namespace edgecompress {

class Counterparts {
 public:
  /// `copy`: of `original`, neither edited since.
  Counterparts(const torch::jit::Graph& original, const torch::jit::Graph& copy);

  /// Null of null. Throws std::out_of_range for what is not of the original.
  torch::jit::Node* of(const torch::jit::Node* node) const;
  const torch::jit::Value* of(const torch::jit::Value* value) const;

 private:
  void match(const torch::jit::Block* original, const torch::jit::Block* copy);
  template <typename Originals, typename Copies>
  void match_values(const Originals& original, const Copies& copy);

  std::unordered_map<const torch::jit::Node*, torch::jit::Node*> nodes_;
  std::unordered_map<const torch::jit::Value*, const torch::jit::Value*> values_;
};

}  // namespace edgecompress
