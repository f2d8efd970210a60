// distill: trains a network to do as its teachers do.
//
//   Before   a student whose outputs drifted from the teacher's (pruned, adapted), or one that is
//            smaller from the start: a file, or the teacher with fewer channels and blocks
//   After    the student follows the teachers, and the labels as far as alpha leaves them a say
//   Applies  to float networks and a training set; labels are needed unless alpha is 1. A teacher
//            is the run's input model or any file with outputs of the same shape.
//   Formula  loss = alpha * T^2 * KL(softmax(teacher / T) || softmax(student / T))
//                 + (1 - alpha) * loss(student, labels)
//                 + sum over features of weight * comparison (train/distillation_losses.h)
//            Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network". Several
//            teachers count as one, by the mean of their softened outputs.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "edgecompress/error.h"
#include "passes/pass.h"
#include "pruning/block_removal.h"
#include "pruning/channel_pruning.h"
#include "train/distillation.h"
#include "train/trainer.h"
#include "util/random.h"

namespace edgecompress {
namespace {

constexpr double kMostBlocks = 1e6;

struct StudentOptions {
  std::string from = "current";
  double width = 1, depth = 1;

  bool is_current() const { return from == "current" && width == 1 && depth == 1; }
};

struct DistillPassOptions {
  std::string teacher = "original";
  std::vector<std::string> other_teachers;
  StudentOptions student;
  DistillOptions distill;
  std::vector<FeatureOptions> features;
  double cache_mib = 1024;
  TrainOptions train;
  LossOptions loss;
};

Options<StudentOptions> student_options() {
  using T = StudentOptions;
  Options<T> o;
  o.add("from", &T::from,
        "\"current\" (the model as the recipe has shaped it so far), \"teacher\" (a copy of it), "
        "\"original\" or the path of a TorchScript file; it takes the model's place");
  o.add("width", &T::width,
        "share of the channels that stay, the largest ones; the others are removed first")
      .above(0)
      .at_most(1);
  o.add("depth", &T::depth,
        "share of the residual blocks that stay, those that change most; the others are removed")
      .at_least(0)
      .at_most(1);
  return o;
}

Options<DistillPassOptions> distill_pass_options() {
  using T = DistillPassOptions;
  Options<T> o;
  o.add("teacher", &T::teacher,
        "\"original\" (the run's input model) or the path of a TorchScript file");
  o.add("other_teachers", &T::other_teachers,
        "more of them: the softened outputs of all are averaged");
  o.add("student", &T::student, student_options(), "the network that learns");
  o.splice(&T::distill, distill_options());
  o.add("features", &T::features, feature_options(),
        "inner values of the student that follow those of a teacher");
  o.add("cache_mib", &T::cache_mib,
        "most MiB of a temporary file that keeps what the teachers say, so that they run once and "
        "not once an epoch; not used on augmented data; 0: never")
      .at_least(0);
  o.splice(&T::train, train_options());
  o.splice(&T::loss, loss_options());
  return o;
}

void check_teachers(const DistillPassOptions& o) {
  const auto count = static_cast<std::int64_t>(o.other_teachers.size()) + 1;
  for (std::size_t i = 0; i < o.features.size(); ++i) {
    const std::int64_t of = o.features[i].of;
    if (of < count) continue;
    throw Error(ExitCode::kRecipe,
                fmt::format("distill: features/{}/of is {}, expected less than the number of "
                            "teachers, {}",
                            i, of, count),
                "0 is teacher, 1 the first of other_teachers");
  }
}

std::int64_t parameters_of(const Model& model) {
  std::int64_t count = 0;
  for (const auto& [name, parameter] : model.named_parameters()) count += parameter.numel();
  return count;
}

class Distill : public Pass {
 public:
  explicit Distill(const DistillPassOptions& options) : options_(options) {
    check_teachers(options);
  }

  PassResult run(Model& model, PassContext& context) override {
    TrainTask task = make_task("distill", options_.train, context);
    PassResult result;
    std::vector<NamedTeacher> teachers = load_teachers(context, result);
    make_student(model, teachers.front().model, context, result);
    if (floating_parameters(model).empty()) {
      result.changed = !options_.student.is_current();
      result.note = "the network has no parameters to train";
      return result;
    }
    Distillation distillation(model, std::move(teachers), options_.distill, options_.features,
                              task.sample(), context.seed, "distill");
    const std::string asked =
        distillation.keep_on_disk(task.data, task.batch_size, options_.train.epochs,
                                  static_cast<std::int64_t>(options_.cache_mib * (1 << 20)),
                                  context.scratch, context.progress);
    task.parameters = floating_parameters(model);
    task.loss = distillation.loss(target_loss(options_.loss));
    const TrainResult trained = train(model, task, context.progress);
    result.changed = trained.best_epoch > 0 || !options_.student.is_current();
    result.counts = trained.counts();
    result.details.update(trained.curves());
    result.details["teachers_asked"] = asked;
    if (!options_.features.empty()) result.details["features"] = distillation.features();
    result.note = trained.summary() + "; teachers " + asked;
    return result;
  }

 private:
  std::vector<NamedTeacher> load_teachers(PassContext& context, PassResult& result) const {
    std::vector<NamedTeacher> teachers;
    std::vector<std::string> names = {options_.teacher};
    names.insert(names.end(), options_.other_teachers.begin(), options_.other_teachers.end());
    for (const std::string& name : names) {
      teachers.push_back({name, context.load_network(name)});
      result.details["teachers"].push_back(
          {{"name", name}, {"parameters", parameters_of(teachers.back().model)}});
    }
    return teachers;
  }

  void make_student(Model& model, const Model& teacher, PassContext& context,
                    PassResult& result) const {
    const StudentOptions& o = options_.student;
    Json& told = result.details["student"];
    told = {{"from", o.from}};
    if (o.from == "teacher") {
      model = teacher.clone();
    } else if (o.from != "current") {
      model = context.load_network(o.from);
    }
    if (o.depth < 1) {
      // Of remove_blocks(), 1 is a number of blocks and no share.
      const double removed = o.depth > 0 ? 1 - o.depth : kMostBlocks;
      const LayerFilter every({}, {});
      const BlockRemoval removal =
          remove_blocks(model, removed, every, every, context.data, context.progress);
      told["blocks"] = removal.blocks.size();
      told["blocks_removed"] = removal.removed();
    }
    if (o.width < 1) {
      ChannelPruning pruning;
      pruning.target = {ChannelTarget::Kind::kRatio, 1 - o.width};
      pruning.limits.max_ratio = std::max(pruning.limits.max_ratio, 1 - o.width);
      ChannelPruner pruner(pruning, context.data, derive_seed(context.seed, "width"),
                           /*latency_share=*/{}, context.progress);
      told["is_width_met"] = pruner.prune(model, 1).is_met;
    }
    told["parameters"] = parameters_of(model);
  }

  DistillPassOptions options_;
};

}  // namespace

PassSpec distill_pass() {
  PassSpec spec;
  const auto options = distill_pass_options();
  spec.description.name = "distill";
  spec.description.summary = "Train a student to do as its teachers do";
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
