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

TEST(Adam, TakesDecayAsPartOfTheGradient) {
  OptimizerOptions options;
  options.name = "adam";
  options.weight_decay = 0.5;
  at::Tensor matrix = parameter({2}, {1, 1});
  at::Tensor vector = parameter({2}, {1});
  Optimizer optimizer({{{matrix, vector}}}, options);
  for (int i = 0; i < 2; ++i) {
    matrix.mutable_grad() = at::full({1, 1}, i == 0 ? -3.0F : 0.0F);
    vector.mutable_grad() = at::full({1}, i == 0 ? -3.0F : 0.0F);
    optimizer.step(0.1);
  }
  // Gradients of the matrix: -3 + 0.5 * 2 = -2, then 0.5 * 2.1 = 1.05; of the vector: -3, then 0.
  const auto second = [](double first, double then) {
    const double mean = (0.9 * 0.1 * first + 0.1 * then) / (1 - 0.9 * 0.9);
    const double square =
        (0.999 * 0.001 * first * first + 0.001 * then * then) / (1 - 0.999 * 0.999);
    return 0.1 * mean / std::sqrt(square);
  };
  expect_values(matrix, {2.1 - second(-2, 1.05)});
  expect_values(vector, {2.1 - second(-3, 0)});
}

OptimizerOptions lamb(double weight_decay) {
  OptimizerOptions options;
  options.name = "lamb";
  options.weight_decay = weight_decay;
  return options;
}

TEST(Lamb, StepsByTheNormOfTheWeight) {
  at::Tensor w = parameter({3, 4}, {1, 2});
  Optimizer optimizer({{{w}}}, lamb(0));
  step(optimizer, w, {2, -5}, 0.1);
  // u = (1, -1) in step one, |w| = 5, |u| = sqrt(2).
  const double length = 0.1 * 5 / std::sqrt(2.0);
  expect_values(w, {3 - length, 4 + length});
}

TEST(Lamb, CountsDecayAsPartOfTheUpdate) {
  at::Tensor w = parameter({3, 4}, {1, 2});
  Optimizer optimizer({{{w}}}, lamb(0.5));
  step(optimizer, w, {2, -5}, 0.1);
  // u = (1 + 1.5, -1 + 2).
  const double trust = 5 / std::sqrt(2.5 * 2.5 + 1);
  expect_values(w, {3 - 0.1 * trust * 2.5, 4 - 0.1 * trust});
}

TEST(Lamb, NeitherDecaysNorStretchesVectorsAndZeros) {
  at::Tensor vector = parameter({3}, {1});
  at::Tensor zero = parameter({0, 0}, {1, 2});
  Optimizer optimizer({{{vector, zero}}}, lamb(0.5));
  vector.mutable_grad() = at::ones({1});
  zero.mutable_grad() = at::ones({1, 2});
  optimizer.step(0.1);
  expect_values(vector, {2.9});
  expect_values(zero, {-0.1, -0.1});
}

TEST(Optimizer, GoesOnFromAMemoryAsIfItHadNeverStopped) {
  for (const char* name : {"sgd", "adam", "adamw", "lamb"}) {
    OptimizerOptions options;
    options.name = name;
    at::Tensor whole = parameter({1, -2, 3, 4}, {2, 2});
    at::Tensor parted = parameter({1, -2, 3, 4}, {2, 2});
    Optimizer optimizer({{{whole}}}, options);
    std::vector<Optimizer::Memory> memory(1);
    for (int i = 0; i < 4; ++i) {
      const auto f = static_cast<float>(i);
      step(optimizer, whole, {f, 1, 2 - f, -1}, 0.1);
      Optimizer anew({{{parted}}}, options);
      anew.remember(memory);
      step(anew, parted, {f, 1, 2 - f, -1}, 0.1);
      memory = anew.memory();
    }
    EXPECT_TRUE(whole.equal(parted)) << name;
  }
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
