// How far a student is from its teachers, batch by batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

struct DistillOptions {
  double temperature = 4.0;
  double alpha = 0.9;            ///< weight of the teacher's outputs against that of the labels
  std::string soft_loss = "kl";  ///< kl, mse
};
/// To be spliced into a pass's options, as `temperature`, `alpha` and `soft_loss`.
Options<DistillOptions> distill_options();

/// Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network":
///   kl   T^2 * KL(softmax(teacher / T) || softmax(student / T)), classes along dimension 1,
///        averaged over samples (and positions)
///   mse  mean squared difference of the outputs as they are
at::Tensor soft_loss(const at::Tensor& student, const at::Tensor& teacher,
                     const DistillOptions& options);

/// What soft_loss() compares with where there are several teachers (You et al. 2017, "Learning from
/// Multiple Teacher Networks": the mean of their softened outputs):
///   kl   T * log of the mean of softmax(teacher / T), scores whose softmax at T is that mean
///   mse  the mean of the outputs
at::Tensor joint_target(const std::vector<at::Tensor>& teachers, const DistillOptions& options);

/// How inner values are compared, given as [n, channels, positions ...]:
///
///   mse        mean squared difference. Romero et al. 2015, "FitNets: Hints for Thin Deep Nets"
///   attention  |a(student) - a(teacher)|^2, the mean over samples; a: squares summed over
///   channels,
///              divided by their norm over the positions. Zagoruyko & Komodakis 2017, "Paying More
///              Attention to Attention"
///   distance   of every two samples of a batch their distance over the mean distance, compared by
///              the Huber loss
///   angle      of every three samples the cosine of the angle at the first, compared by the Huber
///              loss. Both: Park et al. 2019, "Relational Knowledge Distillation"
///
/// Where the numbers of positions differ, the larger is averaged down to the smaller (of the maps,
/// for attention). Distances and angles take all that a sample holds as one vector, and look at the
/// first kRelatedSamples of a batch at most, since angles grow with its cube.
class FeatureComparison {
 public:
  static constexpr std::int64_t kRelatedSamples = 128;
  static const std::vector<std::string>& kinds();

  /// Sizes are those of any batch. Throws Error(kPass) that names `what` for values that can't be
  /// compared: without samples and channels, of other ranks, attention without positions.
  FeatureComparison(std::string kind, at::IntArrayRef student, at::IntArrayRef teacher,
                    const std::string& what);

  /// Whether the student must have as many channels as the teacher.
  bool needs_same_channels() const { return kind_ == "mse"; }
  /// Of the teacher's values all that loss() needs, sample by sample.
  at::Tensor target(const at::Tensor& teacher) const;
  /// Scalar, with gradients of the student's values.
  at::Tensor loss(const at::Tensor& student, const at::Tensor& target) const;

 private:
  at::Tensor pooled(const at::Tensor& values) const;
  at::Tensor attention_map(const at::Tensor& values) const;

  std::string kind_;
  std::vector<std::int64_t> positions_;  ///< sizes that both are averaged to
};

}  // namespace edgecompress
