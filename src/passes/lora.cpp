// lora: trains low-rank adapters of the weights and merges them.
//
//   Before   y = layer(x; W)
//   After    y = layer(x; W + (alpha / rank) * B A)    W frozen while A and B train, then merged
//   Applies  to linear layers and convolutions (1-D to 3-D, transposed, any groups) whose name
//            matches `targets`, in float networks with labelled training data. A weight that other
//            layers read too (a tied embedding) is left alone. Zeros of a pruned weight stay zero.
//   Formula  Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
//   Besides  adapter/adapter_model.safetensors and adapter/adapter_config.json, as PEFT stores them
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "model/layer_filter.h"
#include "passes/pass.h"
#include "train/adapters.h"
#include "train/trainer.h"

namespace edgecompress {
namespace {

struct LoraOptions {
  std::int64_t rank = 8;
  double alpha = 16;
  std::vector<std::string> targets;
  bool train_norms = false;
  TrainOptions train;
  LossOptions loss;
};

Options<LoraOptions> lora_options() {
  LoraOptions defaults;
  defaults.train.optimizer.name = "adamw";
  Options<LoraOptions> o(defaults);
  o.add("rank", &LoraOptions::rank, "columns of B and rows of A").at_least(1).at_most(4096);
  o.add("alpha", &LoraOptions::alpha, "the update is scaled by alpha / rank").above(0);
  o.add("targets", &LoraOptions::targets,
        "regular expressions of layer names; by default every linear layer and convolution");
  o.add("train_norms", &LoraOptions::train_norms,
        "train scales and shifts of normalisation layers too");
  o.splice(&LoraOptions::train, train_options(defaults.train));
  o.splice(&LoraOptions::loss, loss_options());
  return o;
}

bool can_adapt(const Model& model, const Layer& layer) {
  const bool is_kind = layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kConv ||
                       layer.kind == LayerKind::kConvTransposed;
  if (!is_kind || !layer.weight) return false;
  const at::Tensor weight = model.tensor(*layer.weight);
  return weight.is_floating_point() && weight.dim() >= 2;
}

struct Targets {
  std::vector<Layer> layers;
  std::vector<std::string> shared;  ///< left alone: other layers read the weight too
  std::vector<std::string> norms;   ///< parameters of normalisation layers
};

Targets find_targets(Model& model, const LayerFilter& filter) {
  const std::vector<Layer> layers = find_layers(model);
  Targets targets;
  const auto is_target = [&](const Layer& layer) {
    return can_adapt(model, layer) && filter.accepts(layer.name);
  };
  for (const Layer& layer : layers) {
    const bool is_norm = layer.kind == LayerKind::kBatchNorm || layer.kind == LayerKind::kNorm;
    if (is_norm && layer.weight) targets.norms.push_back(*layer.weight);
    if (is_norm && layer.bias) targets.norms.push_back(*layer.bias);
    if (!is_target(layer)) continue;
    const bool is_shared = std::any_of(layers.begin(), layers.end(), [&](const Layer& other) {
      const auto& read = other.weights;
      return std::find(read.begin(), read.end(), *layer.weight) != read.end() && !is_target(other);
    });
    if (is_shared) {
      targets.shared.push_back(layer.name);
    } else {
      targets.layers.push_back(layer);
    }
  }
  return targets;
}

class Lora : public Pass {
 public:
  explicit Lora(const LoraOptions& options) : options_(options), filter_(options.targets, {}) {}

  PassResult run(Model& model, PassContext& context) override {
    const Targets targets = find_targets(model, filter_);
    PassResult result;
    if (!targets.shared.empty()) result.details["shared_weights_left"] = targets.shared;
    if (targets.layers.empty()) {
      result.note = "no linear layer or convolution can be adapted";
      return result;
    }
    Adapters adapters(model, targets.layers,
                      {options_.rank, options_.alpha, options_.train.keep_zeros}, context.seed);
    TrainTask task = make_task("lora", options_.train, context);
    task.loss = target_loss(options_.loss);
    task.parameters = {{adapters.parameters()}};
    if (options_.train_norms) task.parameters.push_back({targets.norms});
    const TrainResult trained = train(model, task, context.progress);
    result.changed = trained.best_epoch > 0;
    result.counts = trained.counts();
    result.counts["adapters"] = static_cast<double>(adapters.size());
    result.details.update(trained.curves());
    result.note = trained.summary();
    if (result.changed) {
      for (auto& [name, bytes] : adapters.files()) result.files["adapter/" + name] = bytes;
      adapters.merge();
    }
    return result;
  }

 private:
  LoraOptions options_;
  LayerFilter filter_;
};

}  // namespace

PassSpec lora_pass() {
  PassSpec spec;
  const auto options = lora_options();
  spec.description.name = "lora";
  spec.description.summary = "Train low-rank adapters and merge them";
  spec.description.options = options.table();
  spec.description.needs.training = true;
  spec.description.needs.labels = true;
  spec.description.needs.float_model = true;
  spec.make = [options](const Json& json) { return std::make_unique<Lora>(options.bind(json)); };
  return spec;
}

}  // namespace edgecompress
