// finetune: trains the network on labels, to win back what other passes cost, or for other classes.
//
//   Before   weights w
//   After    weights that lower the loss on the training set; with `head`, a last layer of its own
//            for the labels of the data (transfer learning)
//   Applies  to float networks and a training set with labels. Batch-norm statistics move along;
//            weights that are exactly 0 stay 0 unless keep_zeros is off.
//   Formula  w <- w - lr * update(gradient of loss(f(x; w), y)), by the optimizer; the layer d
//            layers before the last one with lr * layer_lr_decay^d (Sun et al. 2019, "How to
//            Fine-Tune BERT for Text Classification?"), and, with `unfreeze`, not before the share
//            unfreeze * d / layers of the steps (Howard & Ruder 2018, "Universal Language Model
//            Fine-tuning for Text Classification")
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "edgecompress/error.h"
#include "model/layer_filter.h"
#include "passes/pass.h"
#include "train/frozen_batch_norms.h"
#include "train/layer_order.h"
#include "train/new_head.h"
#include "train/trainer.h"
#include "util/random.h"

namespace edgecompress {
namespace {

struct HeadOptions {
  std::int64_t classes = 0;
  std::string layer;
};

struct FinetuneOptions {
  TrainOptions train;
  LossOptions loss;
  std::optional<HeadOptions> head;
  std::vector<std::string> freeze;
  double layer_lr_decay = 1;
  double unfreeze = 0;
};

Options<HeadOptions> head_options() {
  Options<HeadOptions> o;
  o.add("classes", &HeadOptions::classes, "outputs of the new layer, one for each class")
      .required()
      .at_least(1)
      .at_most(1 << 20);
  o.add("layer", &HeadOptions::layer,
        "name of the layer to replace; empty: the one whose outputs are the network's");
  return o;
}

Options<FinetuneOptions> finetune_options() {
  Options<FinetuneOptions> o;
  o.splice(&FinetuneOptions::train, train_options());
  o.splice(&FinetuneOptions::loss, loss_options());
  o.add("head", &FinetuneOptions::head, head_options(),
        "replace the network's last layer by an untrained one, for other classes");
  o.add("freeze", &FinetuneOptions::freeze,
        "parameters whose name matches one of these regular expressions stay as they are, and with "
        "them the statistics of their batch norms, a new head aside: [\".\"] are all, "
        "[\"^(?!fc\\\\.)\"] all but those of fc");
  o.add("layer_lr_decay", &FinetuneOptions::layer_lr_decay,
        "each layer's learning rate as a share of that of the layer behind it")
      .above(0)
      .at_most(1);
  o.add("unfreeze", &FinetuneOptions::unfreeze,
        "share of the training in which the layers join in one by one, the last from the start; "
        "0: all of them do from the start")
      .at_least(0)
      .below(1);
  return o;
}

/// Labels that a new head has no output for would otherwise be found somewhere in the training.
void check_labels(const DataSets& data, std::int64_t classes) {
  const auto range = data.train->label_range();
  if (!range || range->high < classes) return;
  throw Error(ExitCode::kData,
              fmt::format("head.classes is {}, but the labels of the training set run up to {}",
                          classes, range->high),
              "give the head more classes, or the data set map_labels");
}

class Finetune : public Pass {
 public:
  explicit Finetune(const FinetuneOptions& options)
      : options_(options), frozen_(options.freeze, {}, "freeze") {}

  PassResult run(Model& model, PassContext& context) override {
    TrainTask task = make_task("finetune", options_.train, context);
    task.loss = target_loss(options_.loss);
    task.device = context.device;
    PassResult result;
    const NewHead head = new_head(model, task, *context.data, result);
    task.parameters = groups(model, head.parameters);
    if (task.parameters.empty()) {
      result.note = "every parameter is frozen";
      return result;
    }
    std::set<std::string> parameters;
    for (const auto& parameter : model.named_parameters()) parameters.insert(parameter.first);
    const FrozenBatchNorms frozen_norms(
        model, [&](const Layer& layer) { return is_frozen(layer, parameters); });
    const TrainResult trained = train(model, task, context.progress);
    result.changed = options_.head || trained.best_epoch > 0;
    result.counts = trained.counts();
    result.details.update(trained.curves());
    result.note += trained.summary();
    return result;
  }

 private:
  NewHead new_head(Model& model, const TrainTask& task, const DataSets& data,
                   PassResult& result) const {
    if (!options_.head) return {};
    check_labels(data, options_.head->classes);
    NewHead head = replace_head(model, options_.head->classes, options_.head->layer,
                                derive_seed(task.seed, "head"), task.sample());
    result.details["head"] = head.layer;
    result.note = fmt::format("{} has {} outputs instead of {}; ", head.layer,
                              options_.head->classes, head.outputs_before);
    return head;
  }

  bool is_frozen(const std::string& name) const {
    return !options_.freeze.empty() && frozen_.accepts(name);
  }
  /// By its scales and shifts; one without any, by its statistics.
  bool is_frozen(const Layer& norm, const std::set<std::string>& parameters) const {
    std::vector<std::string> names;
    for (const std::string& name : norm.weights) {
      if (parameters.count(name) > 0) names.push_back(name);
    }
    if (names.empty()) names = norm.weights;
    return std::all_of(names.begin(), names.end(),
                       [this](const std::string& name) { return is_frozen(name); });
  }

  /// A layer a group, the last one first; one group where depth makes no difference.
  std::vector<ParameterGroup> groups(const Model& model,
                                     const std::vector<std::string>& head) const {
    auto all = floating_parameters(model, [&](const std::string& name) {
      const bool is_new = std::find(head.begin(), head.end(), name) != head.end();
      return is_new || !is_frozen(name);
    });
    if (all.empty() || (options_.layer_lr_decay == 1 && options_.unfreeze == 0)) return all;
    const auto layers = parameters_by_layer(model, all.front().names);
    std::vector<ParameterGroup> groups;
    for (std::size_t depth = 0; depth < layers.size(); ++depth) {
      ParameterGroup group;
      group.names = layers[layers.size() - 1 - depth];
      group.lr_factor = std::pow(options_.layer_lr_decay, static_cast<double>(depth));
      group.start =
          options_.unfreeze * static_cast<double>(depth) / static_cast<double>(layers.size());
      groups.push_back(std::move(group));
    }
    return groups;
  }

  FinetuneOptions options_;
  LayerFilter frozen_;
};

}  // namespace

PassSpec finetune_pass() {
  PassSpec spec;
  const auto options = finetune_options();
  spec.description.name = "finetune";
  spec.description.summary = "Train on labels, also for other classes";
  spec.description.options = options.table();
  spec.description.needs.training = true;
  spec.description.needs.labels = true;
  spec.description.needs.float_model = true;
  PassNeeds with_head = spec.description.needs;
  with_head.new_outputs = true;
  spec.description.when = {{"head", nullptr, with_head}};
  spec.make = [options](const Json& json) {
    return std::make_unique<Finetune>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
