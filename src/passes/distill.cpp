// distill: trains the network to give its teacher's outputs.
//
//   Before   a student whose outputs drifted from the teacher's (pruned, adapted, smaller)
//   After    a student that follows the teacher, and the labels as far as alpha leaves them a say
//   Applies  to float networks and a training set; labels are needed unless alpha is 1. The teacher
//            is the run's input model or any file with outputs of the same shape.
//   Formula  loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T))
//                 + (1 - alpha) * loss(student, labels)
//            Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network".
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <memory>
#include <utility>

#include "edgecompress/error.h"
#include "passes/pass.h"
#include "train/layout.h"
#include "train/trainer.h"

namespace edgecompress {
namespace {

struct DistillPassOptions {
  std::string teacher = "original";
  DistillOptions distill;
  TrainOptions train;
  LossOptions loss;
};

Options<DistillOptions> distill_options() {
  Options<DistillOptions> o;
  o.add("temperature", &DistillOptions::temperature, "T: how much both outputs are softened")
      .above(0);
  o.add("alpha", &DistillOptions::alpha,
        "weight of the teacher against the labels; 1: the teacher alone, no labels needed")
      .at_least(0)
      .at_most(1);
  o.add("soft_loss", &DistillOptions::soft_loss,
        "how outputs are compared: kl for class scores, mse for any numbers")
      .one_of({"kl", "mse"});
  return o;
}

Options<DistillPassOptions> distill_pass_options() {
  Options<DistillPassOptions> o;
  o.add("teacher", &DistillPassOptions::teacher,
        "\"original\" (the run's input model) or the path of a TorchScript file");
  o.splice(&DistillPassOptions::distill, distill_options());
  o.splice(&DistillPassOptions::train, train_options());
  o.splice(&DistillPassOptions::loss, loss_options());
  return o;
}

/// The teacher's first output, without gradients.
class Teacher {
 public:
  Teacher(Model model, const std::vector<at::Tensor>& sample)
      : model_(std::move(model)), layout_(model_, sample) {}

  at::Tensor operator()(const std::vector<at::Tensor>& inputs) const {
    const at::NoGradGuard no_grad;
    return model_.forward(layout_.lay_out(inputs)).at(0);
  }

 private:
  Model model_;
  ChannelsLast layout_;
};

void check_outputs(const at::Tensor& student, const at::Tensor& teacher,
                   const DistillPassOptions& options) {
  if (options.distill.soft_loss == "kl" && (student.dim() < 2 || teacher.dim() < 2)) {
    throw Error(ExitCode::kPass,
                fmt::format("distill: soft_loss kl needs class scores [n, classes, ...], but the "
                            "outputs have {} (student) and {} (teacher) dimensions",
                            student.dim(), teacher.dim()),
                "choose soft_loss mse");
  }
  if (student.sizes() == teacher.sizes()) return;
  const auto shape = [](const at::Tensor& output) {
    return fmt::format("[{}]", fmt::join(output.sizes().slice(1), ", "));
  };
  throw Error(ExitCode::kPass,
              fmt::format("distill: the teacher '{}' gives {} numbers a sample, the student {}",
                          options.teacher, shape(teacher), shape(student)),
              "choose a teacher that was trained on the same classes");
}

class Distill : public Pass {
 public:
  explicit Distill(const DistillPassOptions& options) : options_(options) {}

  PassResult run(Model& model, PassContext& context) override {
    TrainTask task = make_task("distill", options_.train, *context.data, context.seed);
    task.score = context.score;
    for (const auto& [name, parameter] : model.named_parameters()) {
      if (parameter.is_floating_point()) task.parameters.push_back(name);
    }
    PassResult result;
    if (task.parameters.empty()) {
      result.note = "the network has no parameters to train";
      return result;
    }
    const auto sample = task.sample();
    const auto teacher = std::make_shared<Teacher>(context.load_teacher(options_.teacher), sample);
    {
      const at::NoGradGuard no_grad;
      check_outputs(model.forward(sample).at(0), (*teacher)(sample), options_);
    }
    task.loss = loss(teacher);
    const TrainResult trained = train(model, task, context.progress);
    result.changed = trained.best_epoch > 0;
    result.counts = trained.counts();
    result.details = trained.curves();
    result.details["teacher"] = options_.teacher;
    result.note = trained.summary();
    return result;
  }

 private:
  LossFunction loss(std::shared_ptr<Teacher> teacher) const {
    const DistillOptions distill = options_.distill;
    const LossFunction hard_loss = target_loss(options_.loss);
    return [=](const std::vector<at::Tensor>& outputs, const Batch& batch) {
      at::Tensor loss = distill.alpha * soft_loss(outputs.at(0), (*teacher)(batch.inputs), distill);
      if (distill.alpha < 1) loss = loss + (1 - distill.alpha) * hard_loss(outputs, batch);
      return loss;
    };
  }

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
