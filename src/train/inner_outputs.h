// Values from within a network as outputs of it, found by the names of its layers.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"

namespace edgecompress {

/// A value inside a network, seen as [n, channels, positions ...].
struct InnerValue {
  torch::jit::Value* value = nullptr;
  bool has_channels_last = false;   ///< [n, positions ..., channels], as linear layers give it
  std::vector<std::int64_t> sizes;  ///< for the sample, channels second

  /// The value itself with the channels where they belong: a view.
  at::Tensor channels_second(const at::Tensor& value) const;
};

/// The value that the name means:
///   a layer ("layer1.0.conv2")  its output
///   a module ("layer1.0")       what leaves it: the output of the last layer in it, followed
///                               through what keeps its size, has no weights and is the only one
///                               to read it (residual sums, activations)
///   none                        the last features: what the last convolution or linear layer reads
/// Of a layer that runs several times, the last run. `sample`: of two samples at least, so that the
/// batch can be told. Throws Error(kPass), beginning with `what`, for a name that the network has
/// not (with the nearest), and for values that can't be an output: in a branch, without samples in
/// their first dimension, no floating numbers.
InnerValue find_inner_value(Model& model, const std::optional<std::string>& name,
                            const std::vector<at::Tensor>& sample, const std::string& what);

/// While it lives, forward() returns the values behind the network's own outputs. The model must
/// outlive it, and its graph not be edited meanwhile.
class InnerOutputs {
 public:
  InnerOutputs(Model& model, std::vector<InnerValue> values);
  ~InnerOutputs();
  InnerOutputs(const InnerOutputs&) = delete;
  InnerOutputs& operator=(const InnerOutputs&) = delete;

  /// Of what forward() returned: the values, channels second.
  std::vector<at::Tensor> of(const std::vector<at::Tensor>& outputs) const;

 private:
  Model& model_;
  std::vector<InnerValue> values_;
  torch::jit::Node* tuple_ = nullptr;  // null: there are no values
};

}  // namespace edgecompress
