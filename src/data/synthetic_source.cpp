// Source "synthetic": samples of a built-in task, drawn when they are read.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>

#include "data/source.h"
#include "data/synthetic_tasks.h"
#include "edgecompress/error.h"

namespace edgecompress {
namespace {

using TaskFactory = SyntheticTask (*)(const SyntheticOptions&);
const std::map<std::string, TaskFactory> kTasks = {{"shapes", shapes_task},
                                                   {"sequences", sequences_task},
                                                   {"vectors", vectors_task},
                                                   {"regression", regression_task}};

class SyntheticDataset : public Dataset {
 public:
  explicit SyntheticDataset(const SyntheticOptions& options)
      : options_(options), task_(kTasks.at(options.task)(options)) {}

  std::int64_t size() const override { return options_.samples; }
  bool has_target() const override { return true; }
  std::vector<std::string> class_names() const override { return task_.class_names; }
  std::optional<LabelRange> label_range() const override {
    if (task_.class_names.empty()) return std::nullopt;
    return LabelRange{0, classes() - 1};
  }

  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t) const override {
    const auto count = static_cast<std::int64_t>(indices.size());
    auto shape = task_.shape;
    shape.insert(shape.begin(), count);
    auto samples = at::empty(shape, task_.dtype);
    auto targets = at::empty({count}, at::kDouble);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto number = options_.offset + indices[i];
      Random random(derive_seed(options_.seed, options_.task, number));
      auto sample = samples[i];
      const auto label = task_.class_names.empty() ? 0 : number % classes();
      targets.data_ptr<double>()[i] = task_.draw(label, random, sample);
    }
    const auto target_type = task_.class_names.empty() ? at::kFloat : at::kLong;
    return {{samples}, targets.to(target_type), count};
  }

 private:
  std::int64_t classes() const { return static_cast<std::int64_t>(task_.class_names.size()); }

  SyntheticOptions options_;
  SyntheticTask task_;
};

Options<SyntheticOptions> synthetic_options() {
  using O = SyntheticOptions;
  std::vector<std::string> names;
  for (const auto& task : kTasks) names.push_back(task.first);
  Options<O> options;
  options.add("task", &O::task, "what is to be learnt").one_of(names);
  options.add("samples", &O::samples, "number of samples").at_least(1);
  options.add("size", &O::size, "shapes: height and width in pixels").at_least(8).at_most(1024);
  options.add("length", &O::length, "sequences: steps").at_least(8).at_most(65536);
  options
      .add("features", &O::features,
           "values a step (sequences, default 1) or a sample (vectors and regression, default 16)")
      .at_least(0)
      .at_most(65536);
  options.add("classes", &O::classes, "number of classes; 0: shapes and vectors 10, sequences 8")
      .at_least(0)
      .at_most(1000);
  options
      .add("noise", &O::noise,
           "standard deviation of the noise on a signal of amplitude 1; negative: the task's own")
      .at_most(10);
  options
      .add("offset", &O::offset,
           "number of the first sample: sets whose numbers don't overlap are disjoint")
      .at_least(0);
  options.add("seed", &O::seed, "another seed is another task of the same kind").at_least(0);
  return options;
}

}  // namespace

Source synthetic_source() {
  const auto options = synthetic_options();
  return {"synthetic", "samples of a built-in task (shapes, sequences, vectors, regression)",
          /*needs_path=*/false, options.table(), [options](const SourceRequest& request) {
            return std::make_shared<SyntheticDataset>(options.bind(request.options));
          }};
}

}  // namespace edgecompress
