// The layer view: nodes of the canonical graph that hold weights, and what is around them.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/interpreter.h"
#include "model/model.h"

namespace edgecompress {

enum class LayerKind {
  kConv,
  kConvTransposed,
  kLinear,
  kMatmul,
  kBatchNorm,
  kNorm,
  kEmbedding,
  kLstm,
  kGru,
  kRnn,
  kOther
};
std::string to_string(LayerKind kind);

struct Layer {
  torch::jit::Node* node = nullptr;
  LayerKind kind = LayerKind::kOther;
  /// Dotted name of the module that holds the weight ("layer1.0.conv1"), or the weight's own name
  /// where the root holds it; the op with its number ("aten::conv2d#3") if there is no attribute.
  std::string name;
  /// Dotted names of the tensors (and packed INT8 weights) that it is computed from, in argument
  /// order; also those behind a weight that the graph computes (an adapter).
  std::vector<std::string> weights;
  /// The one that the layer multiplies with, if it is one tensor read straight from an attribute.
  std::optional<std::string> weight;
  std::optional<std::string> bias;
};

/// Every layer with weights, in execution order (nested blocks included): each node that mixes
/// attributes with activations, and every convolution, linear, norm, embedding and RNN.
std::vector<Layer> find_layers(const Model& model);

/// Of a tensor's dotted name: the module that holds it, or the name itself where the root does.
std::string module_of(const std::string& dotted_name);
/// The operator's full name: "aten::conv2d".
std::string op_of(const torch::jit::Node* node);
/// Whether an operator writes into the value in place.
bool is_written(const torch::jit::Value* value);

/// Dotted attribute path of a value that is a chain of GetAttr from `self`, or "" if it is not.
std::string attribute_path(const torch::jit::Value* value);
/// The int, bool, double, list, string, tensor or None that a constant value holds; lists that are
/// built from constants count.
std::optional<c10::IValue> constant_of(const torch::jit::Value* value);
/// What an operator's argument is if it is constant; None if it isn't, or if there is none.
c10::IValue constant_argument(const torch::jit::Node* node, const std::string& name);
/// A value that reads the attribute, inserted at the graph's start (chains of GetAttr).
/// Throws Error(kInternal) if there is none.
torch::jit::Value* insert_attribute(torch::jit::Graph& graph, const Model& model,
                                    const std::string& dotted_name);
/// The same where the type of the graph's `self` is all there is to go by.
torch::jit::Value* insert_attribute(torch::jit::Graph& graph, const std::string& dotted_name);

/// Multiply-accumulates of one run, per node in execution order: convolutions (transposed too),
/// linear, matmul/bmm/addmm/baddbmm/einsum-free attention, LSTM/GRU/RNN cells. Others count 0.
struct NodeMacs {
  const torch::jit::Node* node;
  std::string name;  ///< layer name, or the op with its number ("matmul#3")
  std::string op;    ///< "aten::conv2d"
  std::int64_t macs;
  std::vector<std::int64_t> output_sizes;
};
/// MACs of one node given these inputs and outputs; of tensors only their sizes are looked at.
std::int64_t macs_of(const torch::jit::Node& node, c10::ArrayRef<c10::IValue> inputs,
                     c10::ArrayRef<c10::IValue> outputs);
std::vector<NodeMacs> count_macs(const Model& model, const std::vector<at::Tensor>& inputs);

}  // namespace edgecompress
