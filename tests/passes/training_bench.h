// What the tests of training passes share: a tiny network that its data can teach, and a context.
#pragma once

#include <memory>
#include <string>

#include "eval/evaluate.h"
#include "passes/registry.h"
#include "support/tiny_models.h"

namespace edgecompress::testing {

class TrainingBench {
 public:
  explicit TrainingBench(const std::string& network = "cnn", std::int64_t samples = 256)
      : tiny_(make_tiny_model(network)), model(Model::from_module(tiny_.module, tiny_.inputs)) {
    data.train = make_tiny_data(tiny_, samples, 1);
    data.validation = make_tiny_data(tiny_, 128, 2);
    data.train_batch = 32;
    context.seed = 5;
    context.data = &data;
    context.load_network = [this](const std::string&) {
      return Model::from_module(tiny_.module, tiny_.inputs);
    };
  }

  /// From now on, choices are made on the validation set.
  void score_on_validation() {
    context.score = [this](const Forward& forward) {
      return evaluate_score(forward, *data.validation, 64, "top1", "validation", progress_);
    };
  }
  double accuracy(const Model& of, const Dataset& set) {
    const Forward forward = [&](const std::vector<at::Tensor>& inputs) {
      return of.forward(inputs);
    };
    return evaluate_score(forward, set, 64, "top1", "test", progress_).value;
  }
  PassResult run(const std::string& pass, const Json& options) {
    const PassSpec& spec = find_pass(pass);
    return spec.make(spec.description.options.resolve(options, ""))->run(model, context);
  }

 private:
  TinyModel tiny_;
  Progress progress_;

 public:
  Model model;
  DataSets data;
  PassContext context{progress_};
};

}  // namespace edgecompress::testing
