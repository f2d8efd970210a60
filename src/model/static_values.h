// What a value in a graph hangs on: only on types, shapes and constants, or on the numbers inside
// tensors. Conditions of the first sort can be decided once; those of the second can't.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <unordered_map>
#include <unordered_set>

namespace edgecompress::canonical {

struct Dependence {
  bool on_data = false;   ///< on numbers in tensors, on state, or on what can't be known
  bool on_shape = false;  ///< on the shape of an input of the model
};

class StaticValues {
 public:
  /// `data_shaped`: nodes whose outputs' shapes are known to hang on data.
  explicit StaticValues(std::unordered_set<const torch::jit::Node*> data_shaped)
      : data_shaped_(std::move(data_shaped)) {}

  /// What the value holds is the same in every run.
  void take_as_known(const torch::jit::Value* value) { known_[0][value] = {}; }
  /// Of a number, bool, list, ... as a whole; of a tensor: of its numbers.
  Dependence of_value(const torch::jit::Value* value) { return of(value, /*is_metadata=*/false); }
  /// Of a tensor's rank, sizes, dtype, device and None-ness.
  Dependence of_metadata(const torch::jit::Value* value) { return of(value, true); }

 private:
  Dependence of(const torch::jit::Value* value, bool is_metadata);
  Dependence compute(const torch::jit::Value* value, bool is_metadata);
  Dependence of_inputs(const torch::jit::Node* node, bool is_metadata);
  Dependence of_condition(const torch::jit::Value* value, bool is_metadata);

  std::unordered_set<const torch::jit::Node*> data_shaped_;
  std::unordered_map<const torch::jit::Value*, Dependence> known_[2];
};

}  // namespace edgecompress::canonical
