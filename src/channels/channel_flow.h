// How channels flow through a network: which positions of which parameters, buffers and activations
// must stay or go together. Found by running every op that only moves data on tensors of channel
// numbers, and by one rule for each kind of op that computes.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "channels/channel_cells.h"
#include "channels/recorded_run.h"

namespace edgecompress {

class Model;

/// One dimension of a parameter or buffer.
struct ChannelAxis {
  enum class Role {
    kProduces,  ///< a layer's output channels
    kConsumes,  ///< a layer's input channels
    kFollows    ///< what goes with channels: biases, norms, scales, position embeddings
  };
  std::string tensor;
  std::int64_t dim = 0;
  Role role = Role::kFollows;
  std::string layer;
  std::vector<Cell> cells;  ///< one each position
  /// Of kProduces: it is also multiplied with these channels (tied embeddings).
  bool is_consumed_too = false;
};

struct ChannelFlow {
  CellSets sets;
  std::vector<ChannelAxis> axes;
  /// Of every tensor of the run that is no attribute, nor moved elements of one.
  std::unordered_map<const torch::jit::Value*, CellMap> values;
  /// Of those: by dimension, where an axis of the attribute runs along it, its cells.
  std::unordered_map<const torch::jit::Value*, std::map<std::int64_t, std::vector<Cell>>>
      attributes;
};

/// What an attention layer loses as a unit.
enum class AttentionUnit {
  kHeads,  ///< whole heads
  kWidth   ///< the same inner positions of every head
};

/// `run` is a run of `model`. Throws Error(kPass) for models whose graph can't be followed at all.
ChannelFlow follow_channels(const Model& model, const RecordedRun& run, AttentionUnit unit);

}  // namespace edgecompress
