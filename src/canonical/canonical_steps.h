// The steps to the canonical form, in the order in which canonical.cpp takes them. Each edits the
// draft and returns whether it changed anything; canonical.cpp checks the outputs after it.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"

namespace edgecompress::canonical {

/// A network on its way. The graph is a working copy: the module's own `forward` is replaced last.
struct Draft {
  torch::jit::Module module;
  std::shared_ptr<torch::jit::Graph> graph;
  std::vector<Finding> findings;

  /// What a value holds before the model runs: a constant, or an attribute of the module.
  std::optional<c10::IValue> held_by(const torch::jit::Value* value) const;
  void decided(const torch::jit::Node* node, const std::string& what);
  void not_canonical(const std::string& where, const std::string& what);
};

/// One example input batch each: the size given, and another if the model runs at another.
using ExampleBatches = std::vector<std::vector<c10::IValue>>;

/// The line of the network's own source that made the node, or the op's name.
std::string source_of(const torch::jit::Node* node);
/// Every node, those of nested blocks included, in execution order.
std::vector<torch::jit::Node*> all_nodes(torch::jit::Block* block);
/// Folds constants, drops dead code and repeated expressions.
void tidy(std::shared_ptr<torch::jit::Graph> graph);

/// Inlines everything and folds attributes that are neither parameters nor buffers.
Draft freeze_to_draft(const torch::jit::Module& module);
/// Tensors that several attributes share are read under one name.
bool unify_shared_tensors(Draft& draft);
/// Lists of parameters (an RNN's) are made of the attributes that they hold.
bool restore_weight_lists(Draft& draft);
/// Tests for None of `Tensor?` attributes are decided; those that are None become constants.
bool settle_optional_attributes(Draft& draft);
/// Conditions and trip counts that hang on no data get the value they have in every example batch.
bool decide_conditions(Draft& draft, const ExampleBatches& batches);
/// Loops of a known, small number of turns become straight lines.
bool unroll_loops(Draft& draft);
bool follow_dictionaries(Draft& draft);
bool remove_mutation(Draft& draft);
bool unfuse_attention(Draft& draft);
bool unify_convolutions(Draft& draft);
bool unify_linears(Draft& draft);
bool unify_norms_and_activations(Draft& draft);
/// Batch norm, dropout and RNNs read the root's `training`.
bool restore_training(Draft& draft);
/// Names what is left that passes can't see through.
void name_leftovers(Draft& draft);

}  // namespace edgecompress::canonical
