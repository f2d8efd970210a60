#include "train/distillation.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <cmath>
#include <utility>

#include "edgecompress/error.h"
#include "train/teacher.h"
#include "util/random.h"
#include "util/text.h"

namespace edgecompress {

Options<FeatureOptions> feature_options() {
  using T = FeatureOptions;
  Options<T> o;
  o.add("student", &T::student,
        "a layer of the student, or a module: what leaves it; by default the last features, what "
        "the last layer reads");
  o.add("teacher", &T::teacher, "a layer or module of the teacher; by default of the same name");
  o.add("of", &T::of, "which teacher: 0 is `teacher`, 1 the first of `other_teachers`, ...")
      .at_least(0);
  o.add("loss", &T::loss,
        "mse (FitNets, through a trained projection where the widths differ), attention (maps of "
        "activation), or how samples lie to each other: distance, angle (relational)")
      .one_of(FeatureComparison::kinds());
  o.add("weight", &T::weight, "of this loss beside the others").above(0);
  return o;
}

namespace {

void check_outputs(const at::Tensor& student, const at::Tensor& teacher,
                   const std::string& teacher_name, const DistillOptions& options,
                   const std::string& pass) {
  if (options.soft_loss == "kl" && (student.dim() < 2 || teacher.dim() < 2)) {
    throw Error(ExitCode::kPass,
                fmt::format("{}: soft_loss kl needs class scores [n, classes, ...], but the "
                            "outputs have {} (student) and {} (teacher) dimensions",
                            pass, student.dim(), teacher.dim()),
                "choose soft_loss mse");
  }
  if (student.sizes() == teacher.sizes()) return;
  const auto shape = [](const at::Tensor& output) {
    return fmt::format("[{}]", fmt::join(output.sizes().slice(1), ", "));
  };
  throw Error(ExitCode::kPass,
              fmt::format("{}: the teacher '{}' gives {} numbers a sample, the student {}", pass,
                          teacher_name, shape(teacher), shape(student)),
              "choose a teacher that was trained on the same classes");
}

/// As a linear layer of `in` inputs begins.
at::Tensor draw_projection(std::int64_t out, std::int64_t in, c10::ScalarType type,
                           std::uint64_t seed) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const at::Tensor weight = at::empty({out, in}, at::kFloat);
  return weight.uniform_(-bound, bound, at::detail::createCPUGenerator(seed)).to(type);
}

std::string layer_text(const std::optional<std::string>& layer) {
  return layer.value_or("the last features");
}

std::vector<std::optional<std::string>> layers_of(const std::vector<FeatureOptions>& features,
                                                  std::size_t teacher) {
  std::vector<std::optional<std::string>> layers;
  for (const FeatureOptions& feature : features) {
    if (feature.of != static_cast<std::int64_t>(teacher)) continue;
    layers.push_back(feature.teacher ? feature.teacher : feature.student);
  }
  return layers;
}

}  // namespace

Distillation::Distillation(Model& student, std::vector<NamedTeacher> teachers,
                           const DistillOptions& options,
                           const std::vector<FeatureOptions>& features,
                           const std::vector<at::Tensor>& sample, std::uint64_t seed,
                           const std::string& pass)
    : student_(student), options_(options), pass_(pass), sample_(sample) {
  const at::NoGradGuard no_grad;
  std::vector<InnerValue> values;
  for (const FeatureOptions& feature : features)
    values.push_back(find_inner_value(student_, feature.student, sample, pass + ", student"));
  inner_ = std::make_unique<InnerOutputs>(student_, std::move(values));
  const std::vector<at::Tensor> outputs = student_.forward(sample);
  const std::vector<at::Tensor> own = inner_->of(outputs);

  std::vector<std::vector<at::Tensor>> theirs;
  for (std::size_t i = 0; i < teachers.size(); ++i) {
    const std::string name = teachers[i].name;
    teachers_.push_back(std::make_unique<Teacher>(std::move(teachers[i].model),
                                                  layers_of(features, i), sample,
                                                  fmt::format("{}, teacher '{}'", pass, name)));
    Teacher::Outputs said = (*teachers_.back())(sample);
    if (follows_outputs()) check_outputs(outputs.at(0), said.output, name, options, pass);
    theirs.push_back(std::move(said.inner));
  }
  std::vector<std::size_t> next(teachers_.size(), 0);
  for (std::size_t i = 0; i < features.size(); ++i) {
    const auto of = static_cast<std::size_t>(features[i].of);
    const std::size_t place = next.at(of)++;
    add_feature(features[i], place, own[i], theirs[of][place], derive_seed(seed, "projection", i));
  }
}

Distillation::~Distillation() {
  if (features_.empty()) return;
  inner_.reset();
  student_.remove_unused_attributes();
}

void Distillation::add_feature(const FeatureOptions& options, std::size_t place,
                               const at::Tensor& student, const at::Tensor& teacher,
                               std::uint64_t seed) {
  const std::string what =
      fmt::format("{}, features of '{}' against '{}'", pass_, layer_text(options.student),
                  layer_text(options.teacher ? options.teacher : options.student));
  Feature feature{options,
                  student.sizes().vec(),
                  teacher.sizes().vec(),
                  place,
                  "",
                  FeatureComparison(options.loss, student.sizes(), teacher.sizes(), what)};
  const std::int64_t in = student.size(1), out = teacher.size(1);
  if (feature.comparison.needs_same_channels() && in != out) {
    feature.projection = student_.add_parameter(
        "distill_projection", draw_projection(out, in, student.scalar_type(), seed));
  }
  features_.push_back(std::move(feature));
}

std::vector<at::Tensor> Distillation::ask(const std::vector<at::Tensor>& inputs) const {
  if (!follows_outputs() && features_.empty()) return {};
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> outputs;
  std::vector<std::vector<at::Tensor>> inner;
  for (const auto& teacher : teachers_) {
    Teacher::Outputs said = (*teacher)(inputs);
    outputs.push_back(std::move(said.output));
    inner.push_back(std::move(said.inner));
  }
  std::vector<at::Tensor> targets;
  if (follows_outputs()) targets.push_back(joint_target(outputs, options_));
  for (const Feature& feature : features_) {
    const auto of = static_cast<std::size_t>(feature.options.of);
    targets.push_back(feature.comparison.target(inner[of][feature.place]));
  }
  return targets;
}

std::string Distillation::keep_on_disk(
    const std::shared_ptr<const Dataset>& data, std::int64_t batch_size, std::int64_t epochs,
    std::int64_t most_bytes,
    const std::function<std::unique_ptr<ScratchFile>(std::int64_t bytes)>& scratch,
    Progress& progress) {
  const auto for_every_batch = [](const std::string& why) {
    return "asked for every batch: " + why;
  };
  if (data->is_augmented()) return for_every_batch("the training set is augmented");
  if (epochs == 1) return for_every_batch("one epoch needs each answer once");
  const std::vector<at::Tensor> answer = ask(sample_);
  if (answer.empty()) return "not asked: they have no weight in the loss";
  const std::int64_t bytes = TeacherCache::bytes(answer, data->size());
  if (bytes > most_bytes) {
    return for_every_batch(fmt::format("the answers would take {}, allowed are {}",
                                       human_bytes(bytes), human_bytes(most_bytes)));
  }
  std::unique_ptr<ScratchFile> file;
  try {
    if (scratch) file = scratch(bytes);
  } catch (const Error& error) {
    return for_every_batch(error.what());
  }
  if (!file) return for_every_batch("there is no folder for the answers");
  cache_ = std::make_unique<TeacherCache>(
      [this](const std::vector<at::Tensor>& inputs) { return ask(inputs); }, data, batch_size,
      std::move(file), progress);
  return fmt::format("asked once: {} on disk for {} samples", human_bytes(bytes), data->size());
}

at::Tensor Distillation::projected(const Feature& feature, const at::Tensor& values) const {
  if (feature.projection.empty()) return values;
  return at::linear(values.movedim(1, -1), student_.tensor(feature.projection)).movedim(-1, 1);
}

LossFunction Distillation::loss(LossFunction label_loss) const {
  return [this, label_loss](const std::vector<at::Tensor>& outputs, const Batch& batch) {
    const bool is_kept = cache_ && !batch.indices.empty();
    const std::vector<at::Tensor> targets =
        is_kept ? cache_->read(batch.indices) : ask(batch.inputs);
    auto target = targets.begin();
    at::Tensor loss;
    const auto add = [&](double weight, const at::Tensor& part) {
      loss = loss.defined() ? loss + weight * part : weight * part;
    };
    if (follows_outputs()) add(options_.alpha, soft_loss(outputs.at(0), *target++, options_));
    if (options_.alpha < 1) add(1 - options_.alpha, label_loss(outputs, batch));
    const std::vector<at::Tensor> inner = inner_->of(outputs);
    for (std::size_t i = 0; i < features_.size(); ++i) {
      const Feature& feature = features_[i];
      add(feature.options.weight, feature.comparison.loss(projected(feature, inner[i]), *target++));
    }
    return loss;
  };
}

Json Distillation::features() const {
  Json list = Json::array();
  for (const Feature& feature : features_) {
    const FeatureOptions& options = feature.options;
    const auto sizes = [](const std::vector<std::int64_t>& of_sample) {
      return std::vector<std::int64_t>(of_sample.begin() + 1, of_sample.end());
    };
    list.push_back({{"student", layer_text(options.student)},
                    {"teacher", layer_text(options.teacher ? options.teacher : options.student)},
                    {"of", options.of},
                    {"loss", options.loss},
                    {"weight", options.weight},
                    {"student_sizes", sizes(feature.student_sizes)},
                    {"teacher_sizes", sizes(feature.teacher_sizes)},
                    {"is_projected", !feature.projection.empty()}});
  }
  return list;
}

LossFunction distillation_loss(Model teacher, const std::string& teacher_name, Model& student,
                               const std::vector<at::Tensor>& sample, const DistillOptions& options,
                               LossFunction label_loss, const std::string& pass) {
  std::vector<NamedTeacher> teachers;
  teachers.push_back({teacher_name, std::move(teacher)});
  const auto distillation =
      std::make_shared<const Distillation>(student, std::move(teachers), options,
                                           std::vector<FeatureOptions>{}, sample, /*seed=*/0, pass);
  return [distillation, loss = distillation->loss(std::move(label_loss))](
             const std::vector<at::Tensor>& outputs, const Batch& batch) {
    return loss(outputs, batch);
  };
}

}  // namespace edgecompress
