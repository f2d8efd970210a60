// finetune: trains the network on labels, to win back what other passes cost.
//
//   Before   weights w
//   After    weights that lower the loss on the training set
//   Applies  to float networks and a training set with labels. Batch-norm statistics move along;
//            weights that are exactly 0 stay 0 unless keep_zeros is off.
//   Formula  w <- w - lr * update(gradient of loss(f(x; w), y)), by SGD or AdamW
#include <utility>

#include "model/layer_filter.h"
#include "passes/pass.h"
#include "train/trainer.h"

namespace edgecompress {
namespace {

struct FinetuneOptions {
  TrainOptions train;
  LossOptions loss;
  std::vector<std::string> include, exclude;
};

Options<FinetuneOptions> finetune_options() {
  Options<FinetuneOptions> o;
  o.splice(&FinetuneOptions::train, train_options());
  o.splice(&FinetuneOptions::loss, loss_options());
  o.add("include", &FinetuneOptions::include,
        "train only parameters whose name matches one of these regular expressions");
  o.add("exclude", &FinetuneOptions::exclude, "not parameters whose name matches one of these");
  return o;
}

class Finetune : public Pass {
 public:
  explicit Finetune(const FinetuneOptions& options)
      : options_(options), filter_(options.include, options.exclude) {}

  PassResult run(Model& model, PassContext& context) override {
    TrainTask task = make_task("finetune", options_.train, context);
    task.loss = target_loss(options_.loss);
    task.parameters = floating_parameters(
        model, [this](const std::string& name) { return filter_.accepts(name); });
    PassResult result;
    if (task.parameters.empty()) {
      result.note = "no parameter passes the filters";
      return result;
    }
    const TrainResult trained = train(model, task, context.progress);
    result.changed = trained.best_epoch > 0;
    result.counts = trained.counts();
    result.details = trained.curves();
    result.note = trained.summary();
    return result;
  }

 private:
  FinetuneOptions options_;
  LayerFilter filter_;
};

}  // namespace

PassSpec finetune_pass() {
  PassSpec spec;
  const auto options = finetune_options();
  spec.description.name = "finetune";
  spec.description.summary = "Train on labels";
  spec.description.options = options.table();
  spec.description.needs.training = true;
  spec.description.needs.labels = true;
  spec.description.needs.float_model = true;
  spec.make = [options](const Json& json) {
    return std::make_unique<Finetune>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
