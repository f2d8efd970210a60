// Low-rank adapters in weight space (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language
// Models"): a layer that reads its weight W reads W + (alpha / rank) * (B A), viewed as W, instead.
// Working on the weight and not on the layer's output serves linear layers and convolutions of any
// rank, stride and grouping alike, and merging is the same expression evaluated once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/layers.h"
#include "model/model.h"

namespace edgecompress {

struct AdapterOptions {
  std::int64_t rank = 8;
  double alpha = 16;       ///< the update is scaled by alpha / rank
  bool keep_zeros = true;  ///< no update where a pruned weight is 0
};

/// Adapters in a model's graph. Until merge() the model runs with them; if they are destroyed
/// unmerged, graph and weights are as they were before.
class Adapters {
 public:
  /// One adapter for the `weight` of each layer, which it must have (a weight that several layers
  /// share gets one). With W seen as a matrix [rows, columns] of its first dimension against the
  /// others, A [rank, columns] is drawn uniformly with bound 1 / sqrt(columns) (Kaiming, a =
  /// sqrt(5)), B [rows, rank] is 0: the model's outputs do not change. The model must outlive this.
  Adapters(Model& model, const std::vector<Layer>& layers, const AdapterOptions& options,
           std::uint64_t seed);
  ~Adapters();
  Adapters(const Adapters&) = delete;
  Adapters& operator=(const Adapters&) = delete;

  /// Dotted names of all A and B, to be trained.
  std::vector<std::string> parameters() const;
  std::size_t size() const { return adapters_.size(); }

  /// Files of the adapter, in the layout of the PEFT library: adapter_model.safetensors and
  /// adapter_config.json. An adapter of a pruned weight is meant for the same mask.
  std::map<std::string, std::string> files() const;

  /// Every W becomes W + (alpha / rank) * (B A), and the adapters are gone from graph and module.
  void merge();

 private:
  /// An argument that reads the adapted weight, and what it read before.
  struct Input {
    torch::jit::Node* node;
    std::size_t index;
    torch::jit::Value* original;
  };
  struct Adapter {
    std::string module, weight;            ///< "layer1.0.conv1", "layer1.0.conv1.weight"
    std::string a, b, zeros;               ///< attributes; zeros is empty if nothing was pruned
    std::vector<torch::jit::Node*> nodes;  ///< inserted ones, in order
    torch::jit::Value* adapted = nullptr;  ///< the last one's output
    std::vector<Input> inputs;
  };

  double scale() const { return options_.alpha / static_cast<double>(options_.rank); }
  Adapter make_adapter(const std::shared_ptr<torch::jit::Graph>& graph, const Layer& layer,
                       std::uint64_t seed);
  static void redirect(Adapter& adapter, torch::jit::Node* node);
  at::Tensor adapted_weight(const Adapter& adapter) const;
  void remove();

  Model& model_;
  AdapterOptions options_;
  std::vector<Adapter> adapters_;
};

}  // namespace edgecompress
