// Runs a graph node by node and shows every value as it is made: shapes, calibration, MACs.
// Values are released after their last use, so memory is that of an ordinary forward pass.
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace edgecompress {

class Model;

/// Called after each node but prim::Constant with the node's inputs and outputs, in order. What an
/// in-place node changed shows in its inputs too.
using NodeObserver =
    std::function<void(const torch::jit::Node& node, c10::ArrayRef<c10::IValue> inputs,
                       c10::ArrayRef<c10::IValue> outputs)>;

/// Asked before each node but prim::Constant; what it returns is taken for the node's only output,
/// and the node does not run.
using NodeStandIn = std::function<std::optional<c10::IValue>(const torch::jit::Node& node,
                                                             c10::ArrayRef<c10::IValue> inputs)>;

class Interpreter {
 public:
  /// The model and its graph must outlive the interpreter and not be edited meanwhile. Operators
  /// are resolved once, here; nested blocks (prim::If, prim::Loop) are followed.
  explicit Interpreter(const Model& model);
  /// Any graph whose first input is the module `self`.
  Interpreter(const torch::jit::Graph& graph, c10::IValue self);
  ~Interpreter();

  /// Inputs without `self`; outputs as the graph returns them. Runs under the caller's grad mode.
  std::vector<c10::IValue> run(const std::vector<c10::IValue>& inputs,
                               const NodeObserver& observer = {},
                               const NodeStandIn& stand_in = {}) const;

 private:
  friend class PausedRun;
  struct Plan;
  std::unique_ptr<Plan> plan_;
};

/// A run that stops between nodes of the graph's top level. What later nodes read stays alive in
/// between; attributes that were read already are not read again.
class PausedRun {
 public:
  /// Before the first node. The interpreter must outlive it.
  PausedRun(const Interpreter& interpreter, const std::vector<c10::IValue>& inputs);
  PausedRun(PausedRun&&) noexcept;
  PausedRun& operator=(PausedRun&&) noexcept;
  ~PausedRun();

  /// Runs until `node` is the next one; to the end, and returns false, if it is never next: it is
  /// behind already, in a nested block, or a constant.
  bool advance_to(const torch::jit::Node* node);
  /// Inputs of the next node.
  std::vector<c10::IValue> inputs() const;
  /// Runs the next node and returns its outputs.
  std::vector<c10::IValue> step();
  /// Bytes of the inputs and activations that are alive (views counted by themselves).
  std::int64_t live_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Sizes and dtype of every tensor value that one run of the example input gave.
struct ValueShape {
  std::vector<std::int64_t> sizes;
  c10::ScalarType dtype;
};
using ShapeMap = std::unordered_map<const torch::jit::Value*, ValueShape>;
ShapeMap record_shapes(const Model& model, const std::vector<at::Tensor>& inputs);

}  // namespace edgecompress
