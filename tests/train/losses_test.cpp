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

TEST(TargetLoss, BinaryCrossEntropyTakesOutputsAsLogOdds) {
  // Log odds of log 3 are a probability of 3/4.
  const at::Tensor output = at::tensor({kLog3, kLog3}).view({2, 1});
  EXPECT_NEAR(loss_of(named("bce"), output, at::tensor({1.0, 0.5}).view({2, 1})),
              (std::log(4.0 / 3) + 0.5 * std::log(4.0 / 3) + 0.5 * std::log(4.0)) / 2, 1e-9);
  EXPECT_NEAR(loss_of(named("bce"), output, at::tensor({1L, 0L})),
              (std::log(4.0 / 3) + std::log(4.0)) / 2, 1e-9);
}

TEST(TargetLoss, BinaryCrossEntropyRefusesTargetsThatAreNoProbabilities) {
  EXPECT_THROW(loss_of(named("bce"), at::zeros({2, 1}), at::tensor({0L, 2L})), Error);
  EXPECT_THROW(loss_of(named("bce"), at::zeros({2, 1}), at::tensor({-0.5F, 1.0F})), Error);
}

TEST(TargetLoss, OfMixedSamplesCountsBothTargetsByTheirShares) {
  Batch batch;
  batch.size = 1;
  batch.target = at::tensor({1L});
  batch.other_target = at::tensor({0L});
  batch.other_share = 0.25;
  EXPECT_NEAR(target_loss({})({quarter_scores()}, batch).item<double>(),
              0.75 * std::log(4.0 / 3) + 0.25 * std::log(4.0), 1e-9);
}

/// Of every loss, in double, against (loss(x + h) - loss(x - h)) / 2h.
TEST(TargetLoss, GradientsAreThoseOfFiniteDifferences) {
  at::manual_seed(1);
  const at::Tensor classes = at::randint(0, 4, {3}, at::kLong);
  const at::Tensor numbers = at::rand({3, 4}, at::kDouble);
  for (const auto& [options, target] :
       std::vector<std::pair<LossOptions, at::Tensor>>{{named("cross_entropy"), classes},
                                                       {named("cross_entropy", 0.2), classes},
                                                       {named("bce"), numbers},
                                                       {named("mse"), numbers},
                                                       {named("l1"), numbers}}) {
    at::Tensor output = at::randn({3, 4}, at::kDouble);
    at::Tensor trained = output.clone().set_requires_grad(true);
    Batch batch;
    batch.target = target;
    target_loss(options)({trained}, batch).backward();
    constexpr double kStep = 1e-6;
    for (std::int64_t i = 0; i < output.numel(); ++i) {
      at::Tensor up = output.clone(), down = output.clone();
      up.view({-1})[i] += kStep;
      down.view({-1})[i] -= kStep;
      const double slope =
          (loss_of(options, up, target) - loss_of(options, down, target)) / (2 * kStep);
      EXPECT_NEAR(trained.grad().view({-1})[i].item<double>(), slope, 1e-8) << options.name;
    }
  }
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
