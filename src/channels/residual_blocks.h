// Residual blocks: x + f(x), of which f can go and x stays.
//
// Found in the graph as a sum of two tensors, one of which is computed from the other, with layers
// on the way: blocks of ResNets without a downsampling shortcut, both halves of a transformer's
// layer, scaled branches (x + gamma * f(x)) and skips across a whole part of a network.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/interpreter.h"
#include "model/model.h"

namespace edgecompress {

struct ResidualBlock {
  /// The module that all its layers are in; where several blocks share it, its first layer.
  std::string name;
  std::vector<std::string> layers;  ///< that nothing else needs, in execution order
  torch::jit::Node* sum = nullptr;  ///< aten::add
  std::size_t skip = 0;             ///< which of its arguments is x
};

/// In execution order; blocks may lie within others. Only those count whose sum has the size and
/// type of x in a run on the example inputs. Throws Error(kPass) for a model without them.
std::vector<ResidualBlock> find_residual_blocks(const Model& model);

/// How much each block changes what passes through it:
///
///   1 - mean over samples of  (x . y) / (|x| |y|)
///
/// y: x + f(x), or the activation of it where x has the same activation behind it. Men et al. 2024,
/// "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect" (block influence,
/// with a sample's tokens and channels as one vector, which holds for any layout).
class BlockInfluence {
 public:
  /// `model` and `blocks` must outlive it, and the model not be edited meanwhile.
  BlockInfluence(const Model& model, const std::vector<ResidualBlock>& blocks);

  /// Holds one x at a time beyond what the network itself does.
  void observe(const std::vector<at::Tensor>& inputs);
  /// In [0, 2]; 0 for blocks that were not run. Throws Error(kPass) naming a block through which
  /// something passed that is not finite.
  std::vector<double> result() const;

 private:
  struct Watched {
    at::Tensor x;  // from the sum to the activation behind it
    double similarity = 0;
    std::int64_t samples = 0;
  };
  Interpreter interpreter_;
  const std::vector<ResidualBlock>& blocks_;
  std::vector<Watched> watched_;
  std::unordered_map<const torch::jit::Node*, std::size_t> by_sum_, by_output_;
};

/// What reads x + f(x) reads x, and what only f needed is gone from graph and module.
void remove_residual_blocks(Model& model, const std::vector<ResidualBlock>& blocks);

}  // namespace edgecompress
