#include "train/losses.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

double loss_of(const LossOptions& options, const at::Tensor& output, const at::Tensor& target) {
  Batch batch;
  batch.target = target;
  batch.size = output.size(0);
  return target_loss(options)({output}, batch).item<double>();
}

LossOptions named(const std::string& name, double label_smoothing = 0) {
  LossOptions options;
  options.name = name;
  options.label_smoothing = label_smoothing;
  return options;
}

const double kLog3 = std::log(3.0);

// Scores whose softmax is (1/4, 3/4).
at::Tensor quarter_scores() { return at::tensor({0.0, kLog3}).view({1, 2}); }

TEST(TargetLoss, CrossEntropyIsTheNegativeLogOfTheTargetsProbability) {
  EXPECT_NEAR(loss_of(named("auto"), quarter_scores(), at::tensor({1L})), std::log(4.0 / 3), 1e-9);
  EXPECT_NEAR(loss_of(named("cross_entropy"), quarter_scores(), at::tensor({0L})), std::log(4.0),
              1e-9);
}

TEST(TargetLoss, LabelSmoothingSpreadsItsShareOverAllClasses) {
  // 0.9 of the target's share, and 0.1 spread evenly over two classes.
  const double expected = 0.95 * std::log(4.0 / 3) + 0.05 * std::log(4.0);
  EXPECT_NEAR(loss_of(named("auto", 0.1), quarter_scores(), at::tensor({1L})), expected, 1e-9);
}

TEST(TargetLoss, CrossEntropyTakesAClassIdForEveryPosition) {
  const at::Tensor output = at::zeros({2, 3, 4, 4});
  const at::Tensor target = at::ones({2, 4, 4}, at::kLong);
  EXPECT_NEAR(loss_of(named("auto"), output, target), kLog3, 1e-6);
}

TEST(TargetLoss, AutoIsMeanSquaredErrorForNumbers) {
  const at::Tensor output = at::tensor({1.0F, 2.0F}).view({2, 1});
  EXPECT_NEAR(loss_of(named("auto"), output, at::tensor({0.0F, 5.0F})), (1 + 9) / 2.0, 1e-6);
  EXPECT_NEAR(loss_of(named("l1"), output, at::tensor({0.0F, 5.0F})), (1 + 3) / 2.0, 1e-6);
}

TEST(TargetLoss, NamesBothShapesWhenTheyCanNotBeCompared) {
  try {
    loss_of(named("mse"), at::zeros({4, 10}), at::zeros({4, 3}));
    FAIL() << "compared them";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    EXPECT_NE(std::string(error.what()).find("[4, 10]"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("[4, 3]"), std::string::npos) << error.what();
  }
}

TEST(TargetLoss, RefusesNumbersAsClassIds) {
  EXPECT_THROW(loss_of(named("cross_entropy"), at::zeros({4, 10}), at::zeros({4})), Error);
}

TEST(TargetLoss, SaysThatLabelsAreMissing) {
  try {
    loss_of(named("auto"), at::zeros({4, 10}), {});
    FAIL() << "found labels";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("labels"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace edgecompress
