// A TorchScript network in canonical form: what every pass works on.
//
// After load(), `forward` is one inlined graph in which parameters and buffers are attributes under
// their original dotted names, in-place ops are functional, each op has one spelling (conv1d..3d,
// conv_transpose1d..3d, linear, ...), conditions that hang only on ranks, dtypes and non-batch
// sizes are decided, and the `training` arguments of batch norm, dropout and RNNs read one
// attribute `training` of the root. What could not be brought to this form is listed in findings().
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace torch::jit {
struct GraphExecutor;
}

namespace edgecompress {

/// Something about the model that a user should know: a condition decided from the example input,
/// a place that could not be made canonical.
struct Finding {
  enum class Kind { kDecided, kNotCanonical };
  Kind kind;
  std::string where;  ///< the layer or the source line
  std::string what;
};

class Model {
 public:
  /// Reads a TorchScript archive and brings it to canonical form. `inputs` may be empty: then the
  /// forms that need an example input are not reached, and findings() says so.
  /// Throws Error(kModel) for a file that is no TorchScript archive (not a zip, truncated, a
  /// state_dict, a pickled module, lite interpreter, newer format, unknown operator), saying what
  /// it is and what to do, and for example inputs that the model does not accept.
  static Model load(const std::filesystem::path& path, const std::vector<InputSpec>& inputs);
  /// From a module in memory (tests, and models written as text). The module is not changed.
  static Model from_module(const torch::jit::Module& module, const std::vector<InputSpec>& inputs);

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  /// A copy that shares nothing with this one: tensors, type and graph are its own.
  Model clone() const;

  /// Outputs in order; tuples, lists and dicts are flattened. Runs under the caller's grad mode.
  std::vector<at::Tensor> forward(const std::vector<at::Tensor>& inputs) const;
  /// A seeded example batch that fits the inputs: normal for floating types, [0, high) for
  /// integers.
  std::vector<at::Tensor> example_inputs(std::int64_t batch_size, std::uint64_t seed = 0) const;

  /// Batch norm and dropout follow this. Models are loaded with false.
  void set_training(bool training);
  bool is_training() const;

  const torch::jit::Graph& graph() const;
  /// For editing: what was compiled of the graph is forgotten, so the next forward() runs the edit.
  std::shared_ptr<torch::jit::Graph> edit();
  torch::jit::Module& module() { return module_; }
  const torch::jit::Module& module() const { return module_; }

  /// A parameter, buffer or other attribute by dotted name ("layer1.0.conv1.weight").
  /// Throws Error(kInternal) if there is none.
  c10::IValue attribute(const std::string& name) const;
  bool has_attribute(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const { return attribute(name).toTensor(); }
  /// Replaces the tensor, of whatever shape; it keeps being a parameter or a buffer.
  void set_tensor(const std::string& name, const at::Tensor& value);
  /// A new attribute at the root, under a name made unique from `name`; returns that name.
  std::string add_parameter(const std::string& name, const at::Tensor& value);
  std::string add_attribute(const std::string& name, const c10::TypePtr& type,
                            const c10::IValue& value);
  /// Attributes that the graph no longer reads are removed, and modules left empty with them.
  void remove_unused_attributes();

  /// Trainable tensors, (dotted name, tensor), in the module's order.
  std::vector<std::pair<std::string, at::Tensor>> named_parameters() const;

  const std::vector<InputSpec>& inputs() const { return inputs_; }
  const std::vector<Finding>& findings() const { return findings_; }

  /// Writes a TorchScript archive that stock PyTorch loads, under a temporary name and then
  /// renamed. The model is written in eval mode. Throws Error(kOutput).
  void save(const std::filesystem::path& path) const;

 private:
  Model(torch::jit::Module module, std::vector<InputSpec> inputs, std::vector<Finding> findings);

  torch::jit::Module module_;
  std::vector<InputSpec> inputs_;
  std::vector<Finding> findings_;
  mutable std::unique_ptr<torch::jit::GraphExecutor> executor_;
};

/// The archive exactly as it is stored (no canonical form): what a user of the file would run.
/// Same errors as Model::load.
torch::jit::Module load_as_stored(const std::filesystem::path& path);

/// Outputs of any module, flattened in order (tensors, tuples, lists, dicts sorted as stored).
std::vector<at::Tensor> flatten_outputs(const c10::IValue& output);
/// Of all that a graph returns.
std::vector<at::Tensor> flatten_outputs(const std::vector<c10::IValue>& outputs);
c10::ScalarType parse_dtype(const std::string& name);  ///< Throws Error(kRecipe).
std::string dtype_name(c10::ScalarType dtype);         ///< As recipes spell it ("float32").
std::vector<at::Tensor> make_example_inputs(const std::vector<InputSpec>& inputs,
                                            std::int64_t batch_size, std::uint64_t seed);

}  // namespace edgecompress
