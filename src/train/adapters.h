// Adapters in a model's graph. Each is put in by the cheapest of these forms that serves its layer:
//
//   beside  y + scale * B (A dropout(x))              linear layers (also with DoRA, without
//                                                     dropout) and embeddings: no gradient as large
//                                                     as the weight is ever made
//   inside  layer(x; W + change)                      convolutions (their weights are small next
//                                                     to their activations: this form is no dearer),
//                                                     pruned weights, weights with unlike readers
//   split   layer(x; W) + layer(dropout(x); change)   what would be inside, with dropout
//
// The change of a weight is weight_change(): one expression, whether it trains or is merged.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/model.h"
#include "train/adapter.h"
#include "train/adapter_targets.h"
#include "train/graph_edits.h"

namespace edgecompress {

enum class AdapterForm { kBeside, kInside, kSplit };
std::string to_string(AdapterForm form);

/// Until merge() or keep() the model runs with the adapters; if they are destroyed before, graph
/// and weights are as they were.
class Adapters {
 public:
  /// The model must outlive this. `keep_zeros`: no change where a pruned weight is 0.
  Adapters(Model& model, bool keep_zeros);
  ~Adapters();
  Adapters(const Adapters&) = delete;
  Adapters& operator=(const Adapters&) = delete;

  /// The adapter's tensors become parameters of the model. Several over one weight add up.
  void add(const Adapter& adapter, const AdapterTarget& target);
  /// The same with what start_pissa() made of the target's weight. The weight becomes what is left
  /// of it, until settle().
  void add_pissa(const Adapter& adapter, const AdapterTarget& target);

  std::size_t size() const { return placed_.size(); }
  /// Dotted names of the tensors of the first `count`, in the order they were added; all by
  /// default.
  std::vector<std::string> parameters(std::optional<std::size_t> count = std::nullopt) const;
  AdapterForm form(std::size_t index) const { return placed_.at(index).form; }
  const AdapterTarget& target(std::size_t index) const { return placed_.at(index).target; }
  bool has_magnitude(std::size_t index) const { return !placed_.at(index).magnitude.empty(); }
  bool has_mask(std::size_t index) const { return !placed_.at(index).zeros.empty(); }

  /// Those of PiSSA become plain ones of twice the rank, over the weights as they were.
  void settle();
  /// Copies of the adapters as they are now.
  std::vector<Adapter> current() const;

  /// Every weight becomes the sum of itself and its changes; graph and module are rid of adapters.
  void merge();
  /// The adapters stay in the graph for good, without dropout, over weights that are as they were.
  void keep();

 private:
  struct Placed {
    Adapter adapter;  ///< without its tensors, which are the model's
    AdapterTarget target;
    std::string a, b, magnitude, zeros;  ///< dotted names; "" of what it doesn't have
    AdapterForm form = AdapterForm::kInside;
    Adapter start;        ///< of PiSSA
    at::Tensor original;  ///< of PiSSA: the weight as it was
  };

  AdapterForm choose_form(const Placed& placed) const;
  void place(const Placed& placed);
  void place_inside(const Placed& placed);
  void place_split(const Placed& placed, torch::jit::Node* reader);
  void place_beside(const Placed& placed, torch::jit::Node* reader);
  torch::jit::Value* insert_change(const Placed& placed);
  /// What the reader's output has become so far, and where more can be added to it.
  torch::jit::Value* output_of(torch::jit::Node* reader) const;
  void set_output(torch::jit::Node* reader, torch::jit::Value* sum);
  torch::jit::Value* drop(torch::jit::Node* place, torch::jit::Value* value, double probability);

  Adapter with_tensors(const Placed& placed) const;
  at::Tensor zeros_of(const Placed& placed) const;
  void remove();

  Model& model_;
  bool keep_zeros_;
  GraphEdits edits_;
  std::vector<Placed> placed_;
  std::map<std::string, torch::jit::Value*> adapted_;  // weights with what is inside so far
  std::unordered_map<torch::jit::Node*, torch::jit::Value*> outputs_;
};

}  // namespace edgecompress
