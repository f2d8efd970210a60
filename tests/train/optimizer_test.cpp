#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

at::Tensor parameter(std::vector<float> values, at::IntArrayRef shape) {
  return at::tensor(values).view(shape).clone().set_requires_grad(true);
}

void step(Optimizer& optimizer, at::Tensor& tensor, const std::vector<float>& gradient, double lr) {
  tensor.mutable_grad() = at::tensor(gradient).view(tensor.sizes());
  optimizer.step(lr);
}

void expect_values(const at::Tensor& tensor, const std::vector<double>& expected) {
  const at::Tensor values = tensor.detach().contiguous().view({-1});
  ASSERT_EQ(values.numel(), static_cast<std::int64_t>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(values[static_cast<std::int64_t>(i)].item<double>(), expected[i], 1e-6);
  }
}

OptimizerOptions sgd(double momentum, bool nesterov, double weight_decay) {
  OptimizerOptions options;
  options.momentum = momentum;
  options.nesterov = nesterov;
  options.weight_decay = weight_decay;
  return options;
}

TEST(Sgd, SubtractsTheLearningRateTimesTheGradient) {
  at::Tensor w = parameter({1, 2}, {1, 2});
  Optimizer optimizer({{{w}}}, sgd(0, false, 0));
  step(optimizer, w, {0.5, -1}, 0.1);
  expect_values(w, {0.95, 2.1});
}

TEST(Sgd, MomentumCarriesTheLastUpdateOn) {
  at::Tensor w = parameter({1}, {1, 1});
  Optimizer optimizer({{{w}}}, sgd(0.9, false, 0));
  step(optimizer, w, {1}, 0.1);  // v = 1
  expect_values(w, {0.9});
  step(optimizer, w, {2}, 0.1);  // v = 0.9 + 2 = 2.9
  expect_values(w, {0.61});
}

TEST(Sgd, NesterovLooksAheadAlongTheMomentum) {
  at::Tensor w = parameter({1}, {1, 1});
  Optimizer optimizer({{{w}}}, sgd(0.9, true, 0));
  step(optimizer, w, {1}, 0.1);  // v = 1, update = 1 + 0.9 * 1
  expect_values(w, {0.81});
  step(optimizer, w, {2}, 0.1);  // v = 2.9, update = 2 + 0.9 * 2.9 = 4.61
  expect_values(w, {0.349});
}

TEST(Optimizer, StepsEachGroupByItsShareOfTheLearningRate) {
  at::Tensor fast = parameter({1}, {1, 1});
  at::Tensor slow = parameter({1}, {1});
  OptimizerGroup half;
  half.parameters = {slow};
  half.lr_factor = 0.5;
  Optimizer optimizer({{{fast}}, half}, sgd(0, false, 0));
  fast.mutable_grad() = at::ones({1, 1});
  slow.mutable_grad() = at::ones({1});
  optimizer.step(0.2);
  expect_values(fast, {0.8});
  expect_values(slow, {0.9});
}

TEST(Sgd, DecaysMatricesButNotVectors) {
  at::Tensor matrix = parameter({2}, {1, 1});
  at::Tensor vector = parameter({2}, {1});
  Optimizer optimizer({{{matrix, vector}}}, sgd(0, false, 0.5));
  matrix.mutable_grad() = at::ones({1, 1});
  vector.mutable_grad() = at::ones({1});
  optimizer.step(0.1);
  expect_values(matrix, {2 - 0.1 * (1 + 0.5 * 2)});
  expect_values(vector, {1.9});
}

TEST(AdamW, FirstStepMovesByTheLearningRateAgainstTheGradientsSign) {
  OptimizerOptions options;
  options.name = "adamw";
  options.weight_decay = 0.1;
  at::Tensor w = parameter({1, -2}, {1, 2});
  Optimizer optimizer({{{w}}}, options);
  step(optimizer, w, {0.3, -4}, 0.01);
  // w (1 - lr * decay) - lr * g / (|g| + eps): the moments' bias corrections cancel in step one.
  expect_values(w, {0.999 - 0.01, -2 * 0.999 + 0.01});
}

TEST(AdamW, SecondStepFollowsTheCorrectedMoments) {
  OptimizerOptions options;
  options.name = "adamw";
  options.weight_decay = 0;
  at::Tensor w = parameter({0.5}, {1, 1});
  Optimizer optimizer({{{w}}}, options);
  step(optimizer, w, {1}, 0.1);
  step(optimizer, w, {3}, 0.1);
  const double mean = (0.9 * 0.1 * 1 + 0.1 * 3) / (1 - 0.9 * 0.9);
  const double square = (0.999 * 0.001 * 1 + 0.001 * 9) / (1 - 0.999 * 0.999);
  expect_values(w, {0.5 - 0.1 - 0.1 * mean / std::sqrt(square)});
}

TEST(Optimizer, DefaultLearningRateFitsTheMethod) {
  OptimizerOptions options;
  EXPECT_EQ(options.learning_rate(), 0.01);
  options.name = "adamw";
  EXPECT_EQ(options.learning_rate(), 0.001);
  options.lr = 0.5;
  EXPECT_EQ(options.learning_rate(), 0.5);
}

TEST(Optimizer, ClipsAllGradientsByTheirCommonNorm) {
  at::Tensor a = parameter({0, 0}, {1, 2});
  at::Tensor b = parameter({0}, {1});
  Optimizer optimizer({{{a, b}}}, sgd(0, false, 0));
  a.mutable_grad() = at::tensor({2.0F, 3.0F}).view({1, 2});
  b.mutable_grad() = at::tensor({6.0F});  // the norm of (2, 3, 6) is 7
  optimizer.clip_gradients(3.5);
  optimizer.step(1);
  expect_values(a, {-1, -1.5});
  expect_values(b, {-3});
}

TEST(Optimizer, LeavesGradientsBelowTheNormAsTheyAre) {
  at::Tensor w = parameter({0, 0}, {1, 2});
  Optimizer optimizer({{{w}}}, sgd(0, false, 0));
  w.mutable_grad() = at::tensor({3.0F, 4.0F}).view({1, 2});
  optimizer.clip_gradients(5.1);
  optimizer.step(1);
  expect_values(w, {-3, -4});
}

TEST(Optimizer, TrainsATiedTensorOnce) {
  at::Tensor w = parameter({1}, {1, 1});
  Optimizer optimizer({{{w, w}}}, sgd(0, false, 0));
  EXPECT_EQ(optimizer.parameters().size(), 1U);
  step(optimizer, w, {1}, 0.1);
  expect_values(w, {0.9});
}

TEST(Optimizer, LeavesParametersWithoutGradientAlone) {
  at::Tensor used = parameter({1}, {1, 1});
  at::Tensor unused = parameter({1}, {1, 1});
  Optimizer optimizer({{{used, unused}}}, sgd(0.9, false, 0.5));
  step(optimizer, used, {1}, 0.1);
  expect_values(unused, {1});
}

TEST(Optimizer, RefusesNesterovWithoutMomentum) {
  at::Tensor w = parameter({1}, {1, 1});
  try {
    Optimizer optimizer({{{w}}}, sgd(0, true, 0));
    FAIL() << "took it";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kRecipe);
    EXPECT_NE(std::string(error.what()).find("nesterov"), std::string::npos);
  }
}

}  // namespace
}  // namespace edgecompress
