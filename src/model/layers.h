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
  std::string name;  ///< dotted name of the module that holds the weight ("layer1.0.conv1")
  std::vector<std::string>
      weights;  ///< dotted names of its parameters and buffers, in argument order
  std::optional<std::string>
      weight;  ///< the one that the layer multiplies with, if it is one tensor
  std::optional<std::string> bias;
};

/// Every layer with weights, in execution order (nested blocks included). A layer whose weight is
/// computed in the graph (an adapter) has no `weight`.
std::vector<Layer> find_layers(Model& model);

/// Dotted attribute path of a value that is a chain of GetAttr from `self`, or "" if it is not.
std::string attribute_path(const torch::jit::Value* value);
/// The int, bool, double, list, string or None that a constant value holds.
std::optional<c10::IValue> constant_of(const torch::jit::Value* value);
/// A value that reads the attribute, inserted at the graph's start (chains of GetAttr).
torch::jit::Value* insert_attribute(torch::jit::Graph& graph, const Model& model,
                                    const std::string& dotted_name);

/// Multiply-accumulates of one run, per node in execution order: convolutions (transposed too),
/// linear, matmul/bmm/addmm/baddbmm/einsum-free attention, LSTM/GRU/RNN cells. Others count 0.
struct NodeMacs {
  const torch::jit::Node* node;
  std::string name;  ///< layer name, or the op with its number ("matmul#3")
  std::string op;    ///< "aten::conv2d"
  std::int64_t macs;
  std::vector<std::int64_t> output_sizes;
};
std::vector<NodeMacs> count_macs(const Model& model, const std::vector<at::Tensor>& inputs);

}  // namespace edgecompress
