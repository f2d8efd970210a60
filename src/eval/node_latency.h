// Where the time of a network goes, node by node.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <unordered_map>
#include <vector>

#include "model/model.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// Milliseconds that each node takes in one run; a node in a loop, all its turns. What the run does
/// not reach is missing.
using NodeLatency = std::unordered_map<const torch::jit::Node*, double>;
/// measure_node_latency() with a recipe's spec.
using NodeLatencyMeter = std::function<std::vector<NodeLatency>(const std::vector<Model*>&)>;

/// Runs the networks in turn on the same example batch, channels-last where they take it, node by
/// node with nothing fused: medians of `spec.repeats` runs after `spec.warm_up`. Each node's time
/// holds the 1 or 2 microseconds that it takes to get to it. Threads are set for the measurement
/// and restored after it.
std::vector<NodeLatency> measure_node_latency(const std::vector<Model*>& models,
                                              const LatencySpec& spec);

}  // namespace edgecompress
