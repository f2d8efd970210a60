#include "train/distillation_losses.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace edgecompress {
namespace {

const double kLog3 = std::log(3.0);

// Scores whose softmax is (1/4, 3/4).
at::Tensor quarter_scores() { return at::tensor({0.0, kLog3}).view({1, 2}); }

TEST(SoftLoss, IsTheScaledDivergenceFromTheTeacher) {
  DistillOptions options;
  options.temperature = 2;
  // At T = 2 the teacher gives (1/4, 3/4), the student (1/2, 1/2).
  const at::Tensor teacher = 2 * quarter_scores();
  const at::Tensor student = at::zeros({1, 2}, at::kDouble);
  const double divergence = 0.25 * std::log(0.25 / 0.5) + 0.75 * std::log(0.75 / 0.5);
  EXPECT_NEAR(soft_loss(student, teacher, options).item<double>(), 4 * divergence, 1e-9);
}

TEST(SoftLoss, AveragesOverSamples) {
  DistillOptions options;
  options.temperature = 1;
  const at::Tensor teacher = at::cat({quarter_scores(), at::zeros({1, 2}, at::kDouble)});
  const at::Tensor student = at::zeros({2, 2}, at::kDouble);
  const double divergence = 0.25 * std::log(0.25 / 0.5) + 0.75 * std::log(0.75 / 0.5);
  EXPECT_NEAR(soft_loss(student, teacher, options).item<double>(), divergence / 2, 1e-9);
}

TEST(SoftLoss, IsZeroWithZeroGradientWhereStudentAndTeacherAgree) {
  const at::Tensor teacher = at::tensor({1.0, -2.0, 0.5}).view({1, 3});
  const at::Tensor student = teacher.clone().set_requires_grad(true);
  const at::Tensor loss = soft_loss(student, teacher, {});
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), 0, 1e-12);
  EXPECT_NEAR(student.grad().abs().max().item<double>(), 0, 1e-12);
}

TEST(SoftLoss, MseComparesTheOutputsAsTheyAre) {
  DistillOptions options;
  options.soft_loss = "mse";
  EXPECT_NEAR(
      soft_loss(at::zeros({1, 2}), at::tensor({1.0F, 3.0F}).view({1, 2}), options).item<double>(),
      5, 1e-6);
}

}  // namespace
}  // namespace edgecompress
