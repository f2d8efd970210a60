// distill: trains the network to give its teacher's outputs.
//
//   Before   a student whose outputs drifted from the teacher's (pruned, adapted, smaller)
//   After    a student that follows the teacher, and the labels as far as alpha leaves them a say
//   Applies  to float networks and a training set; labels are needed unless alpha is 1. The teacher
//            is the run's input model or any file with outputs of the same shape.
//   Formula  loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T))
//                 + (1 - alpha) * loss(student, labels)
//            Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network".
#include <memory>

#include "passes/pass.h"
#include "train/distillation.h"
#include "train/trainer.h"

namespace edgecompress {
namespace {

struct DistillPassOptions {
  std::string teacher = "original";
  DistillOptions distill;
  TrainOptions train;
  LossOptions loss;
};

Options<DistillPassOptions> distill_pass_options() {
  Options<DistillPassOptions> o;
  o.add("teacher", &DistillPassOptions::teacher,
        "\"original\" (the run's input model) or the path of a TorchScript file");
  o.splice(&DistillPassOptions::distill, distill_options());
  o.splice(&DistillPassOptions::train, train_options());
  o.splice(&DistillPassOptions::loss, loss_options());
  return o;
}

class Distill : public Pass {
 public:
  explicit Distill(const DistillPassOptions& options) : options_(options) {}

  PassResult run(Model& model, PassContext& context) override {
    TrainTask task = make_task("distill", options_.train, context);
    task.parameters = floating_parameters(model);
    PassResult result;
    if (task.parameters.empty()) {
      result.note = "the network has no parameters to train";
      return result;
    }
    task.loss =
        distillation_loss(context.load_teacher(options_.teacher), options_.teacher, model,
                          task.sample(), options_.distill, target_loss(options_.loss), "distill");
    const TrainResult trained = train(model, task, context.progress);
    result.changed = trained.best_epoch > 0;
    result.counts = trained.counts();
    result.details = trained.curves();
    result.details["teacher"] = options_.teacher;
    result.note = trained.summary();
    return result;
  }

 private:
  DistillPassOptions options_;
};

}  // namespace

PassSpec distill_pass() {
  PassSpec spec;
  const auto options = distill_pass_options();
  spec.description.name = "distill";
  spec.description.summary = "Train to give a teacher's outputs";
  spec.description.options = options.table();
  spec.description.needs.training = true;
  spec.description.needs.labels = true;
  spec.description.needs.float_model = true;
  PassNeeds without_labels = spec.description.needs;
  without_labels.labels = false;
  spec.description.when = {{"alpha", 1.0, without_labels}};
  spec.make = [options](const Json& json) { return std::make_unique<Distill>(options.bind(json)); };
  return spec;
}

}  // namespace edgecompress
