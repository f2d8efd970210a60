// Steps of building graphs that several rewrites take.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <string>
#include <vector>

namespace edgecompress {

/// An op with one output, inserted at the graph's insert point.
torch::jit::Node* insert_op(torch::jit::Graph& graph, const std::string& name,
                            const std::vector<torch::jit::Value*>& inputs);
/// The value as another dtype, by aten::to.
torch::jit::Value* insert_conversion(torch::jit::Graph& graph, torch::jit::Value* value,
                                     c10::ScalarType dtype);
/// Where to insert what is to come right after the value is made.
torch::jit::Node* place_behind(torch::jit::Value* value);

}  // namespace edgecompress
