// Training against teachers: what they say, compared with what the student says.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "train/distillation_losses.h"
#include "train/inner_outputs.h"
#include "train/losses.h"
#include "train/teacher_cache.h"
#include "util/progress.h"
#include "util/scratch_file.h"

namespace edgecompress {

class Teacher;

/// One inner value of the student that follows one of a teacher.
struct FeatureOptions {
  std::optional<std::string> student;  ///< layer or module; null: the last features
  std::optional<std::string> teacher;  ///< null: the student's name
  std::int64_t of = 0;                 ///< which of the teachers
  std::string loss = "mse";            ///< FeatureComparison::kinds()
  double weight = 1;
};
Options<FeatureOptions> feature_options();

struct NamedTeacher {
  std::string name;  ///< for messages
  Model model;
};

/// loss = alpha * soft_loss(student, joint_target(teachers)) + (1 - alpha) * label_loss(student)
///        + sum over features of weight * comparison,
/// outputs being the first ones. What has weight 0 is not computed. Where mse compares other
/// numbers of channels, a matrix that trains with the student takes the student's channels to the
/// teacher's: FitNets' regressor.
class Distillation {
 public:
  /// While it lives, the student gives its inner values too, and holds the matrices as parameters.
  /// The student must outlive it. `sample`: inputs of two samples. `pass` is for messages.
  /// Throws Error(kPass) where outputs or features can't be compared.
  Distillation(Model& student, std::vector<NamedTeacher> teachers, const DistillOptions& options,
               const std::vector<FeatureOptions>& features, const std::vector<at::Tensor>& sample,
               std::uint64_t seed, const std::string& pass);
  ~Distillation();
  Distillation(const Distillation&) = delete;
  Distillation& operator=(const Distillation&) = delete;

  /// Asks the teachers once for every sample of `data`, if that pays over so many epochs, and keeps
  /// what they say on disk, at most `most_bytes` of it. Else, and for batches whose samples were
  /// mixed, they are asked batch by batch. Says which it is, and why.
  std::string keep_on_disk(
      const std::shared_ptr<const Dataset>& data, std::int64_t batch_size, std::int64_t epochs,
      std::int64_t most_bytes,
      const std::function<std::unique_ptr<ScratchFile>(std::int64_t bytes)>& scratch,
      Progress& progress);

  /// With alpha 1 labels are not looked at. This must outlive it.
  LossFunction loss(LossFunction label_loss) const;
  /// For the report: each feature with its sizes.
  Json features() const;

 private:
  struct Feature {
    FeatureOptions options;
    std::vector<std::int64_t> student_sizes, teacher_sizes;  ///< of the sample, channels second
    std::size_t place;                                       ///< among its teacher's inner values
    std::string projection;  ///< name of the student's parameter; empty: none
    FeatureComparison comparison;
  };
  void add_feature(const FeatureOptions& options, std::size_t place, const at::Tensor& student,
                   const at::Tensor& teacher, std::uint64_t seed);
  /// The target of the outputs, if they count, and that of each feature.
  std::vector<at::Tensor> ask(const std::vector<at::Tensor>& inputs) const;
  at::Tensor projected(const Feature& feature, const at::Tensor& values) const;
  bool follows_outputs() const { return options_.alpha > 0; }

  Model& student_;
  DistillOptions options_;
  std::string pass_;
  std::vector<at::Tensor> sample_;
  std::unique_ptr<InnerOutputs> inner_;  ///< the student's
  std::vector<std::unique_ptr<Teacher>> teachers_;
  std::vector<Feature> features_;
  std::unique_ptr<TeacherCache> cache_;
};

/// Of a single teacher's outputs, without features, as a loss that holds all it needs.
LossFunction distillation_loss(Model teacher, const std::string& teacher_name, Model& student,
                               const std::vector<at::Tensor>& sample, const DistillOptions& options,
                               LossFunction label_loss, const std::string& pass);

}  // namespace edgecompress
