// Linear layers whose weights are INT8, as float ones for as long as something trains over them.
//
//   packed      quantized::linear_dynamic: no gradient passes it, so linear(x; W) takes its place
//   stored      linear(x; dequantized(...)): mode weight_only and portable files; W is made once
//               instead of in every step
//
// W is what the INT8 weight stands for. Activations that a kernel would round are not: the training
// sees them in float.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/graph_edits.h"

namespace edgecompress {

/// What stops gradients on their way through the network, stand-ins or not, "" if nothing does: an
/// operator on INT8 activations, and its layer.
std::string gradient_obstacle(const Model& model);

class Int8Base {
 public:
  /// The model must outlive this. Where nothing is INT8 nothing changes.
  explicit Int8Base(Model& model);
  /// The INT8 weights are as they were, unless requantize() was called.
  ~Int8Base();
  Int8Base(const Int8Base&) = delete;
  Int8Base& operator=(const Int8Base&) = delete;

  /// Names of the layers by the dotted names of the float weights that stand for theirs.
  const std::map<std::string, std::string>& layers() const { return layers_; }

  struct Requantized {
    std::string layer;
    std::string form;          ///< "4 bits, groups of 64"
    double largest_error = 0;  ///< of a weight, by rounding it
  };
  /// Float weights that have changed become INT8 in the way that theirs were: as many bits, groups
  /// as wide, rounded to nearest.
  std::vector<Requantized> requantize();

 private:
  struct Weight {
    std::string layer, weight;  ///< weight: the float one
    at::Tensor original;        ///< what it was made of
    std::string packed;         ///< attribute of packed parameters, or
    std::string values, scales, zeros;
  };

  void stand_in_for_packed(torch::jit::Node* node, const std::string& layer);
  void stand_in_for_stored(torch::jit::Node* node, const std::string& layer,
                           const std::vector<std::string>& attributes);
  std::string float_weight_of(Weight weight, const at::Tensor& value);
  Requantized store(const Weight& weight, const at::Tensor& value);
  Requantized pack(const Weight& weight, const at::Tensor& value);

  Model& model_;
  c10::IValue record_;  // see int8/int8_record.h; None: the model has none
  GraphEdits edits_;
  std::vector<Weight> weights_;
  std::map<std::string, std::string> layers_;
};

}  // namespace edgecompress
