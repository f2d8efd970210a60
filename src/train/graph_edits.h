// Edits of a model's graph that can all be taken back.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/adapter_expressions.h"

namespace edgecompress {

/// The model must outlive this; what is inserted goes where `place` says, what it reads must be
/// computed before. Nothing happens by itself when this is destroyed.
class GraphEdits {
 public:
  explicit GraphEdits(Model& model);

  /// Where the graph's own computation begins: what is inserted here is seen by all of it.
  torch::jit::Node* start() const { return start_; }

  torch::jit::Value* read(const std::string& attribute);
  torch::jit::Value* constant(torch::jit::Node* place, const c10::IValue& value);
  torch::jit::Value* insert(torch::jit::Node* place, const AdapterExpression& expression,
                            const std::vector<torch::jit::Value*>& arguments);
  torch::jit::Value* insert(torch::jit::Node* place, const std::string& op,
                            const std::vector<torch::jit::Value*>& arguments);
  /// Another node that reads and does what `node` does.
  torch::jit::Node* repeat(torch::jit::Node* place, torch::jit::Node* node);
  void replace_input(torch::jit::Node* node, std::size_t index, torch::jit::Value* value);
  /// Who reads `value` after `sum`, which is computed from it, reads `sum` instead.
  void replace_output(torch::jit::Value* value, torch::jit::Value* sum);

  void undo();
  /// What was done so far stays for good.
  void forget() { undo_.clear(); }

 private:
  void remember(torch::jit::Node* node);

  Model& model_;
  torch::jit::Node* start_;
  std::vector<std::function<void()>> undo_;  // of each edit, in order
};

}  // namespace edgecompress
