#include "train/distillation_losses.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <cmath>
#include <cstdio>

#include "edgecompress/error.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "util/file.h"

namespace edgecompress {
namespace {

using testing::expect_error;

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

DistillOptions kl_at(double temperature) {
  DistillOptions options;
  options.temperature = temperature;
  return options;
}

TEST(JointTarget, IsTheMeanOfTheSoftenedOutputs) {
  // At T = 2: (1/4, 3/4) and (1/2, 1/2), whose mean is (3/8, 5/8).
  const at::Tensor target =
      joint_target({2 * quarter_scores(), at::zeros({1, 2}, at::kDouble)}, kl_at(2));
  const at::Tensor softened = at::softmax(target / 2, 1);
  EXPECT_NEAR(softened[0][0].item<double>(), 3.0 / 8, 1e-12);
  DistillOptions mse;
  mse.soft_loss = "mse";
  EXPECT_TRUE(at::allclose(joint_target({at::full({1, 2}, 1.0), at::full({1, 2}, 4.0)}, mse),
                           at::full({1, 2}, 2.5)));
}

TEST(JointTarget, OfOneTeacherIsWhatItSays) {
  const at::Tensor scores = at::randn({4, 3});
  EXPECT_TRUE(joint_target({scores}, kl_at(3)).equal(scores));
}

double compared(const std::string& kind, const at::Tensor& student, const at::Tensor& teacher) {
  const FeatureComparison comparison(kind, student.sizes(), teacher.sizes(), "test");
  return comparison.loss(student, comparison.target(teacher)).item<double>();
}

TEST(FeatureComparison, HintsAreComparedAtTheSmallerSize) {
  // Means of 2x2 windows of 0 .. 15 are 2.5, 4.5, 10.5, 12.5.
  const at::Tensor teacher = at::arange(16, at::kDouble).view({1, 1, 4, 4});
  const at::Tensor student = at::tensor({2.5, 4.5, 10.5, 14.5}).view({1, 1, 2, 2});
  EXPECT_NEAR(compared("mse", student, teacher), 4.0 / 4, 1e-12);
  EXPECT_NEAR(compared("mse", teacher, student), 4.0 / 4, 1e-12);
}

TEST(FeatureComparison, AttentionComparesWhereNetworksLookAndNotHowMuch) {
  // Squares summed over two channels: (9, 16), of norm sqrt(337); the student looks at one place.
  const at::Tensor teacher = at::tensor({3.0, 0.0, 0.0, 4.0}).view({1, 2, 1, 2});
  const at::Tensor student = at::tensor({0.0, 7.0}).view({1, 1, 1, 2});
  const double norm = std::sqrt(81.0 + 256.0);
  const double expected = std::pow(9 / norm, 2) + std::pow(1 - 16 / norm, 2);
  EXPECT_NEAR(compared("attention", student, teacher), expected, 1e-12);
  EXPECT_NEAR(compared("attention", 5 * teacher, teacher), 0, 1e-12);
}

TEST(FeatureComparison, RelationsStayWhenASpaceIsTurnedMovedAndScaled) {
  const at::Tensor teacher = at::randn({6, 3}, at::kDouble);
  const at::Tensor turned =
      4 * teacher.index_select(1, at::tensor({2, 0, 1})) + at::tensor({1.0, 2.0, 3.0});
  for (const char* kind : {"distance", "angle"}) {
    EXPECT_NEAR(compared(kind, turned, teacher), 0, 1e-12) << kind;
    EXPECT_GT(compared(kind, at::randn({6, 5}, at::kDouble), teacher), 1e-3) << kind;
  }
}

TEST(FeatureComparison, RelationsByHand) {
  // On a line at 0, 1, 3: distances 1, 3, 2 of mean 2; taught 0, 1, 2: 1, 2, 1 of mean 4/3. Twice
  // each, over nine pairs: (1/2 - 3/4)^2 = 1/16, (3/2 - 3/2)^2 = 0, (1 - 3/4)^2 = 1/16, halved.
  const at::Tensor student = at::tensor({0.0, 1.0, 3.0}).view({3, 1});
  const at::Tensor teacher = at::tensor({0.0, 1.0, 2.0}).view({3, 1});
  EXPECT_NEAR(compared("distance", student, teacher), 2 * (1.0 / 16 + 1.0 / 16) / 2 / 9, 1e-12);
  // All angles are 0 or 180 degrees, at the same samples.
  EXPECT_NEAR(compared("angle", student, teacher), 0, 1e-12);
  // A right angle at the first sample against a straight line through it: cosine 0 against -1,
  // twice; at the others 1 / sqrt 2 against 1, twice each. Halves of squares over 27 triples.
  const at::Tensor corner = at::tensor({0.0, 0.0, 1.0, 0.0, 0.0, 1.0}).view({3, 2});
  const at::Tensor line = at::tensor({0.0, 1.0, -1.0}).view({3, 1});
  const double other = 1 - std::sqrt(0.5);
  EXPECT_NEAR(compared("angle", corner, line), (2 * 1.0 + 4 * other * other) / 2 / 27, 1e-12);
}

TEST(FeatureComparison, RelationsOfOneSampleOrOfEqualOnesAreNothing) {
  for (const char* kind : {"distance", "angle"}) {
    EXPECT_EQ(compared(kind, at::randn({1, 3}), at::randn({1, 3})), 0) << kind;
    const at::Tensor equal = at::ones({4, 3}).set_requires_grad(true);
    const FeatureComparison comparison(kind, equal.sizes(), equal.sizes(), "test");
    comparison.loss(equal, comparison.target(at::randn({4, 3}))).backward();
    EXPECT_TRUE(equal.grad().isfinite().all().item<bool>()) << kind;
  }
}

TEST(FeatureComparison, RelatesTheFirstSamplesOfALargeBatch) {
  const at::Tensor student = at::randn({200, 3}), teacher = at::randn({200, 3});
  EXPECT_EQ(compared("distance", student, teacher),
            compared("distance", student.slice(0, 0, 128), teacher.slice(0, 0, 128)));
}

TEST(FeatureComparison, NamesWhatCanNotBeCompared) {
  const auto compare = [](const char* kind, std::vector<std::int64_t> student,
                          std::vector<std::int64_t> teacher) {
    return [=] { FeatureComparison(kind, student, teacher, "features of 'a' against 'b'"); };
  };
  expect_error(ExitCode::kPass, "features of 'a' against 'b': values of 8 (student) and 8x4x4",
               compare("mse", {2, 8}, {2, 8, 4, 4}));
  expect_error(ExitCode::kPass, "can't be compared by attention",
               compare("attention", {2, 8}, {2, 8}), "feature maps");
}

/// What stock PyTorch says of these values, or null where it is not installed.
Json ask_stock_pytorch(const c10::Dict<std::string, std::vector<at::Tensor>>& values) {
  const testing::TemporaryFolder folder;
  const std::vector<char> bytes = torch::jit::pickle_save(values);
  write_file_atomic(folder.path() / "values.tensors", {bytes.data(), bytes.size()});
  const std::string command = "/usr/bin/python3 " EDGECOMPRESS_SOURCE_DIR
                              "/tests/train/distill_in_pytorch.py " +
                              folder.path().string() + " 2>/dev/null";
  FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, pipe))
    output.append(buffer, size);
  const int status = WEXITSTATUS(::pclose(pipe));
  if (status == 77 || status == 127) return nullptr;
  EXPECT_EQ(status, 0);
  return Json::parse(output);
}

TEST(DistillationLosses, AreThoseOfStockPyTorchWithTheirGradients) {
  const auto drawn = [](std::vector<std::int64_t> sizes) { return at::randn(sizes, at::kDouble); };
  const std::vector<at::Tensor> scores = {drawn({5, 7}), drawn({5, 7}), drawn({5, 7})};
  const std::vector<at::Tensor> maps = {drawn({5, 4, 3, 3}), drawn({5, 4, 6, 6})};
  c10::Dict<std::string, std::vector<at::Tensor>> values;
  values.insert("scores", scores);
  values.insert("maps", maps);
  const Json expected = ask_stock_pytorch(values);
  if (expected.is_null()) GTEST_SKIP() << "stock PyTorch is not installed";

  DistillOptions mse;
  mse.soft_loss = "mse";
  const auto loss_of = [&](const std::string& name, const at::Tensor& student) {
    if (name == "kl") return soft_loss(student, scores[1], kl_at(3));
    if (name == "output mse") return soft_loss(student, scores[1], mse);
    if (name == "kl of two")
      return soft_loss(student, joint_target({scores[1], scores[2]}, kl_at(3)), kl_at(3));
    const FeatureComparison comparison(name, student.sizes(), maps[1].sizes(), "test");
    return comparison.loss(student, comparison.target(maps[1]));
  };
  ASSERT_EQ(expected.size(), 7U);
  for (const auto& [name, told] : expected.items()) {
    const bool is_of_scores = name.rfind("kl", 0) == 0 || name == "output mse";
    const at::Tensor student = (is_of_scores ? scores[0] : maps[0]).clone().set_requires_grad(true);
    const at::Tensor loss = loss_of(name, student);
    loss.backward();
    EXPECT_NEAR(loss.item<double>(), told["value"].get<double>(), 1e-10) << name;
    const at::Tensor gradient = at::tensor(told["gradient"].get<std::vector<double>>());
    EXPECT_LT((student.grad().flatten() - gradient).abs().max().item<double>(), 1e-10) << name;
  }
}

}  // namespace
}  // namespace edgecompress
