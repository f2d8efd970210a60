// Fills an Evaluation: what a model file is worth, measured as its user would run it.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "eval/evaluate.h"
#include "eval/node_latency.h"
#include "eval/reference_outputs.h"
#include "model/model.h"
#include "recipe/recipe.h"
#include "report/report.h"
#include "util/progress.h"

namespace edgecompress {

/// The module in eval mode, with its outputs flattened.
Forward forward_of(torch::jit::Module module);

/// Random inputs, where a run has no data: fidelity can still be told. No labels.
std::shared_ptr<const Dataset> random_inputs(const std::vector<InputSpec>& inputs,
                                             std::int64_t samples, std::uint64_t seed);

/// What the outputs of a network can be compared with.
struct Comparable {
  bool with_labels = true;    ///< the data's are of its classes
  bool with_original = true;  ///< they mean what the original's do
};

/// Everything, or only what needs no run of the network but one: bytes, parameters, MACs.
enum class MeasureScope { kAll, kSize };

/// Measures the files of one run, all in the same way.
class Measurer {
 public:
  /// `inputs` may be empty: then latency, MACs, memory and, without data, fidelity stay unknown.
  Measurer(std::filesystem::path original, std::vector<InputSpec> inputs, const DataSets& data,
           EvaluationSpec spec, std::uint64_t seed, MeasureScope scope, Progress& progress);

  MeasureScope scope() const { return scope_; }
  /// `model` is the canonical form of `file`, for counting MACs.
  Evaluation measure_original(const Model& model, Comparable outputs);
  Evaluation measure_step(const std::filesystem::path& file, const Model& model,
                          Comparable outputs);

  /// Measures a model's latency as a share of that of the file `before`, as measure_step() does;
  /// the model is written to `scratch` meanwhile. Empty if the inputs are not known.
  std::function<double(const Model&)> latency_share(std::filesystem::path before,
                                                    std::filesystem::path scratch) const;
  /// The bytes of a model's file as a share of those of the file `before`.
  std::function<double(const Model&)> size_share(std::filesystem::path before,
                                                 std::filesystem::path scratch) const;
  /// See measure_node_latency(). Empty if the inputs are not known.
  std::function<std::vector<NodeLatency>(const std::vector<Model*>&)> node_latency() const;

  /// The score on the set where choices are made; empty without labels.
  std::function<Score(const Forward&)> score_for_choices() const;

 private:
  Evaluation measure_common(const std::filesystem::path& file, const Model& model,
                            const Forward& forward, Comparable outputs);
  bool can_score(const std::shared_ptr<const Dataset>& data) const;

  std::filesystem::path original_;
  MeasureScope scope_;
  std::string original_form_;  ///< chosen once, so that every step has the same opponent
  std::vector<InputSpec> inputs_;
  const DataSets& data_;
  EvaluationSpec spec_;
  Progress& progress_;
  Forward original_forward_;
  ReferenceOutputs original_outputs_;  ///< on the fidelity data
  std::shared_ptr<const Dataset> fidelity_data_;
  std::int64_t fidelity_batch_ = 1;
  std::string fidelity_name_;
};

}  // namespace edgecompress
