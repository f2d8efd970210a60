#include "train/distillation_losses.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>
#include <utility>

#include "edgecompress/error.h"

namespace edgecompress {

Options<DistillOptions> distill_options() {
  Options<DistillOptions> o;
  o.add("temperature", &DistillOptions::temperature, "T: how much both outputs are softened")
      .above(0)
      .only_with("soft_loss", {"kl"});
  o.add("alpha", &DistillOptions::alpha,
        "weight of the teacher against the labels; 1: the teacher alone, no labels needed")
      .at_least(0)
      .at_most(1);
  o.add("soft_loss", &DistillOptions::soft_loss,
        "how outputs are compared: kl for class scores, mse for any numbers")
      .one_of({"kl", "mse"});
  return o;
}

at::Tensor soft_loss(const at::Tensor& student, const at::Tensor& teacher,
                     const DistillOptions& options) {
  if (options.soft_loss == "mse") return at::mse_loss(student, teacher);
  const double t = options.temperature;
  const at::Tensor student_log = at::log_softmax(student / t, 1);
  const at::Tensor teacher_log = at::log_softmax(teacher / t, 1);
  const at::Tensor divergence = (teacher_log.exp() * (teacher_log - student_log)).sum(1);
  return t * t * divergence.mean();
}

at::Tensor joint_target(const std::vector<at::Tensor>& teachers, const DistillOptions& options) {
  if (teachers.size() == 1) return teachers[0];
  const at::Tensor outputs = at::stack(teachers);
  if (options.soft_loss == "mse") return outputs.mean(0);
  // The mean's constant divisor drops out of the softmax.
  const double t = options.temperature;
  return t * at::log_softmax(outputs / t, 2).logsumexp(0);
}

namespace {

/// Inner products of the samples' vectors, in double: distances of near samples are differences of
/// large products.
at::Tensor gram_of(const at::Tensor& values) {
  const at::Tensor vectors = values.flatten(1).to(at::kDouble);
  const at::Tensor centred = vectors - vectors.mean(0, /*keepdim=*/true);
  return at::matmul(centred, centred.t());
}

/// [n, n], with zeros on the diagonal.
at::Tensor distances_of(const at::Tensor& gram) {
  constexpr double kLeast = 1e-12;  // where the root still has a derivative
  const at::Tensor squares = gram.diagonal();
  const at::Tensor apart = squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * gram;
  return apart.clamp_min(kLeast).sqrt() * (1 - at::eye(gram.size(0), gram.options()));
}

at::Tensor relative_distances(const at::Tensor& values) {
  const at::Tensor distances = distances_of(gram_of(values));
  const std::int64_t n = distances.size(0);
  return distances / (distances.sum() / static_cast<double>(n * (n - 1)));
}

/// [n, n, n]: at a, between the ways to b and to c; 0 where one of them has no direction.
at::Tensor cosines_of_angles(const at::Tensor& values) {
  const at::Tensor gram = gram_of(values);
  const at::Tensor products = gram.unsqueeze(0) - gram.unsqueeze(2) - gram.unsqueeze(1) +
                              gram.diagonal().unsqueeze(1).unsqueeze(2);
  const at::Tensor distances = distances_of(gram);
  const at::Tensor inverse = distances.gt(0) / distances.masked_fill(distances.eq(0), 1);
  return products * inverse.unsqueeze(1) * inverse.unsqueeze(2);
}

at::Tensor related(const at::Tensor& values) {
  return values.slice(0, 0, FeatureComparison::kRelatedSamples);
}

}  // namespace

const std::vector<std::string>& FeatureComparison::kinds() {
  static const std::vector<std::string> kinds = {"mse", "attention", "distance", "angle"};
  return kinds;
}

FeatureComparison::FeatureComparison(std::string kind, at::IntArrayRef student,
                                     at::IntArrayRef teacher, const std::string& what)
    : kind_(std::move(kind)) {
  const bool is_relational = kind_ == "distance" || kind_ == "angle";
  const std::size_t rank = kind_ == "attention" ? 3 : 2;
  const bool is_comparable = std::min(student.size(), teacher.size()) >= rank &&
                             (is_relational || student.size() == teacher.size());
  if (!is_comparable || student.size() > 5 || teacher.size() > 5) {
    throw Error(ExitCode::kPass,
                fmt::format("{}: values of {} (student) and {} (teacher) numbers a sample can't be "
                            "compared by {}",
                            what, fmt::join(student.slice(1), "x"),
                            fmt::join(teacher.slice(1), "x"), kind_),
                kind_ == "attention" ? "attention needs feature maps: name convolutions"
                                     : "name layers of the same kind");
  }
  if (is_relational) return;
  for (std::size_t i = 2; i < student.size(); ++i)
    positions_.push_back(std::min(student[i], teacher[i]));
}

at::Tensor FeatureComparison::target(const at::Tensor& teacher) const {
  if (kind_ == "mse") return pooled(teacher);
  return kind_ == "attention" ? attention_map(teacher) : teacher;
}

at::Tensor FeatureComparison::loss(const at::Tensor& student, const at::Tensor& target) const {
  if (kind_ == "mse") return at::mse_loss(pooled(student), target);
  if (kind_ == "attention") return (attention_map(student) - target).square().sum(1).mean();
  if (student.size(0) < 2) return (student * 0).sum();  // one sample has no relations
  const auto relations = kind_ == "distance" ? relative_distances : cosines_of_angles;
  return at::smooth_l1_loss(relations(related(student)), relations(related(target)))
      .to(student.scalar_type());
}

at::Tensor FeatureComparison::pooled(const at::Tensor& values) const {
  if (values.sizes().slice(2) == at::IntArrayRef(positions_)) return values;
  if (positions_.size() == 1) return at::adaptive_avg_pool1d(values, positions_);
  if (positions_.size() == 2) return at::adaptive_avg_pool2d(values, positions_);
  return at::adaptive_avg_pool3d(values, positions_);
}

at::Tensor FeatureComparison::attention_map(const at::Tensor& values) const {
  const at::Tensor map = pooled(values.square().sum(1, /*keepdim=*/true)).flatten(1);
  return map / map.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
}

}  // namespace edgecompress
