#include "pipeline/measure.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "eval/latency.h"
#include "eval/size.h"
#include "model/layers.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kRandomSamples = 32;

/// Rows of batches that were drawn once.
class RandomInputs : public Dataset {
 public:
  RandomInputs(std::vector<at::Tensor> inputs, std::int64_t samples)
      : inputs_(std::move(inputs)), samples_(samples) {}
  std::int64_t size() const override { return samples_; }
  bool has_target() const override { return false; }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t) const override {
    const at::Tensor rows = at::tensor(indices, at::kLong);
    Batch batch;
    for (const at::Tensor& input : inputs_) batch.inputs.push_back(input.index_select(0, rows));
    batch.size = static_cast<std::int64_t>(indices.size());
    return batch;
  }

 private:
  std::vector<at::Tensor> inputs_;
  std::int64_t samples_;
};

std::int64_t example_batch(const std::vector<InputSpec>& inputs) {
  return inputs.empty() || inputs[0].shape.empty() ? 1
                                                   : std::max<std::int64_t>(1, inputs[0].shape[0]);
}

/// For one sample, though the batch of the example may be baked into a traced model.
std::optional<std::int64_t> macs_of_one(const Model& model) {
  if (model.inputs().empty()) return std::nullopt;
  const c10::InferenceMode inference;
  const std::int64_t batch = example_batch(model.inputs());
  std::int64_t macs = 0;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(batch))) macs += node.macs;
  return macs / batch;
}

}  // namespace

Forward forward_of(torch::jit::Module module) {
  module.eval();
  return [module](const std::vector<at::Tensor>& inputs) mutable {
    return flatten_outputs(module.forward({inputs.begin(), inputs.end()}));
  };
}

std::shared_ptr<const Dataset> random_inputs(const std::vector<InputSpec>& inputs,
                                             std::int64_t samples, std::uint64_t seed) {
  return std::make_shared<RandomInputs>(make_example_inputs(inputs, samples, seed), samples);
}

Measurer::Measurer(std::filesystem::path original, std::vector<InputSpec> inputs,
                   const DataSets& data, EvaluationSpec spec, std::uint64_t seed,
                   MeasureScope scope, Progress& progress)
    : original_(std::move(original)),
      scope_(scope),
      inputs_(std::move(inputs)),
      data_(data),
      spec_(std::move(spec)),
      progress_(progress),
      original_forward_(forward_of(load_as_stored(original_))),
      original_outputs_(original_forward_) {
  if (data_.for_choices()) {
    fidelity_data_ = data_.for_choices();
    fidelity_batch_ = data_.for_choices_batch();
    fidelity_name_ = data_.for_choices_name();
  } else if (!inputs_.empty()) {
    fidelity_batch_ = example_batch(inputs_);
    // Whole batches, for models that take no other.
    const std::int64_t samples =
        (kRandomSamples + fidelity_batch_ - 1) / fidelity_batch_ * fidelity_batch_;
    fidelity_data_ = random_inputs(inputs_, samples, seed);
    fidelity_name_ = "random inputs";
  }
}

bool Measurer::can_score(const std::shared_ptr<const Dataset>& data) const {
  return data && data->has_target() && spec_.metric != "fidelity";
}

Evaluation Measurer::measure_common(const std::filesystem::path& file, const Model& model,
                                    const Forward& forward, Comparable outputs) {
  Evaluation evaluation;
  evaluation.size = measure_size(file, load_as_stored(file));
  evaluation.macs = macs_of_one(model);
  if (scope_ == MeasureScope::kSize) return evaluation;
  const auto choices = data_.for_choices();
  if (outputs.with_labels && can_score(choices)) {
    evaluation.validation = evaluate_score(forward, *choices, data_.for_choices_batch(),
                                           spec_.metric, data_.for_choices_name(), progress_);
  }
  if (outputs.with_labels && can_score(data_.test)) {
    evaluation.test = data_.test == choices ? evaluation.validation
                                            : evaluate_score(forward, *data_.test, data_.test_batch,
                                                             spec_.metric, "test", progress_);
  }
  if (!inputs_.empty()) {
    evaluation.peak_memory_bytes = measure_peak_memory(file, inputs_, example_batch(inputs_));
  }
  return evaluation;
}

Evaluation Measurer::measure_original(const Model& model, Comparable outputs) {
  Evaluation evaluation = measure_common(original_, model, original_forward_, outputs);
  if (!inputs_.empty() && scope_ == MeasureScope::kAll) {
    evaluation.latency =
        measure_latency({{"original", original_}}, inputs_, spec_.latency, progress_).at(0);
    original_form_ = evaluation.latency->form;
    evaluation.speedup = 1;
  }
  return evaluation;
}

Evaluation Measurer::measure_step(const std::filesystem::path& file, const Model& model,
                                  Comparable outputs) {
  const Forward forward = forward_of(load_as_stored(file));
  Evaluation evaluation = measure_common(file, model, forward, outputs);
  if (scope_ == MeasureScope::kSize) return evaluation;
  if (outputs.with_original && fidelity_data_) {
    evaluation.fidelity = evaluate_fidelity(forward, original_outputs_, *fidelity_data_,
                                            fidelity_batch_, fidelity_name_, progress_);
  }
  if (!inputs_.empty()) {
    // The original runs in turn with the step, so that the machine's noise falls on both.
    const auto latencies =
        measure_latency({{"original", original_, original_form_}, {"step", file}}, inputs_,
                        spec_.latency, progress_);
    evaluation.latency = latencies.at(1);
    evaluation.speedup = latencies[0].median_ms / latencies[1].median_ms;
  }
  return evaluation;
}

std::function<double(const Model&)> Measurer::latency_share(std::filesystem::path before,
                                                            std::filesystem::path scratch) const {
  if (inputs_.empty()) return {};
  std::string form = before == original_ ? original_form_ : "";
  return [this, before, scratch, form](const Model& model) mutable {
    model.save(scratch);
    const auto latencies = measure_latency({{"before", before, form}, {"candidate", scratch}},
                                           inputs_, spec_.latency, progress_);
    std::filesystem::remove(scratch);
    form = latencies.at(0).form;
    return latencies.at(1).median_ms / latencies.at(0).median_ms;
  };
}

std::function<double(const Model&)> Measurer::size_share(std::filesystem::path before,
                                                         std::filesystem::path scratch) const {
  return [before = std::move(before), scratch = std::move(scratch)](const Model& model) {
    model.save(scratch);
    const auto bytes = static_cast<double>(std::filesystem::file_size(scratch));
    std::filesystem::remove(scratch);
    return bytes / static_cast<double>(std::filesystem::file_size(before));
  };
}

std::function<std::vector<NodeLatency>(const std::vector<Model*>&)> Measurer::node_latency() const {
  if (inputs_.empty()) return {};
  return [this](const std::vector<Model*>& models) {
    return measure_node_latency(models, spec_.latency);
  };
}

std::function<Score(const Forward&)> Measurer::score_for_choices() const {
  const auto choices = data_.for_choices();
  if (!can_score(choices)) return {};
  return [this, choices](const Forward& forward) {
    Progress silent;  // the training that asks shows its own
    return evaluate_score(forward, *choices, data_.for_choices_batch(), spec_.metric,
                          data_.for_choices_name(), silent);
  };
}

}  // namespace edgecompress
