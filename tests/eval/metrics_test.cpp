#include "eval/metrics.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

at::Tensor floats(const std::vector<std::vector<float>>& rows) {
  std::vector<at::Tensor> tensors;
  for (const auto& row : rows) tensors.push_back(at::tensor(row));
  return at::stack(tensors);
}

at::Tensor labels(const std::vector<std::int64_t>& values) { return at::tensor(values); }

/// Scores whose argmax is the given class.
at::Tensor predictions(const std::vector<std::int64_t>& values, std::int64_t classes) {
  return at::one_hot(labels(values), classes).to(at::kFloat);
}

double value_of(const std::string& metric, const at::Tensor& output, const at::Tensor& target) {
  const auto score = find_metric(metric).make();
  score->add(output, target, {"test", 0, output.size(0)});
  return score->value();
}

std::string message_of(const std::string& metric, const at::Tensor& output,
                       const at::Tensor& target, const BatchOrigin& origin) {
  try {
    find_metric(metric).make()->add(output, target, origin);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    EXPECT_FALSE(error.hint().empty());
    return error.what();
  }
  return "no error";
}

TEST(Metrics, Top1CountsHighestScores) {
  const auto score = find_metric("top1").make();
  const at::Tensor output = floats({{0.1F, 0.9F, 0}, {2, 1, 0}, {-3, -2, -1}, {0, 0.5F, 0.4F}});
  score->add(output, labels({1, 0, 0, 2}), {"test", 0, 4});
  EXPECT_DOUBLE_EQ(score->value(), 0.5);
  EXPECT_EQ(score->correct(), 2);
}

TEST(Metrics, BatchesAddUpBySamplesNotByBatches) {
  const auto score = find_metric("top1").make();
  score->add(predictions({0, 1, 2}, 3), labels({0, 1, 2}), {"test", 0, 3});
  score->add(predictions({0}, 3), labels({1}), {"test", 3, 1});
  EXPECT_DOUBLE_EQ(score->value(), 0.75);
}

TEST(Metrics, ConstantScoresAreRightForOneClassOnly) {
  EXPECT_DOUBLE_EQ(value_of("top1", at::zeros({3, 3}), labels({0, 1, 2})), 1.0 / 3);
}

TEST(Metrics, Top5AcceptsTheFifthAndRefusesTheSixth) {
  const at::Tensor output = floats({{6, 5, 4, 3, 2, 1}, {6, 5, 4, 3, 2, 1}});
  EXPECT_DOUBLE_EQ(value_of("top5", output, labels({4, 5})), 0.5);
}

TEST(Metrics, Top5NeedsFiveClasses) {
  EXPECT_THAT(message_of("top5", at::zeros({2, 4}), labels({0, 1}), {"validation", 0, 2}),
              AllOf(HasSubstr("validation"), HasSubstr("at least 5 classes"), HasSubstr("has 4")));
}

TEST(Metrics, F1IsTheMeanOverClassesOfTheConfusion) {
  // labels 0 0 0 1 1 2, predictions 0 0 1 1 2 2:
  //   class 0: tp 2 fp 0 fn 1 -> 4/5; class 1: tp 1 fp 1 fn 1 -> 1/2; class 2: tp 1 fp 1 -> 2/3
  EXPECT_DOUBLE_EQ(value_of("f1", predictions({0, 0, 1, 1, 2, 2}, 3), labels({0, 0, 0, 1, 1, 2})),
                   (4.0 / 5 + 1.0 / 2 + 2.0 / 3) / 3);
}

TEST(Metrics, F1LeavesOutClassesThatNeverOccur) {
  // Of 10 classes only 0, 1 (labels) and 7 (a prediction) occur; 1 and 7 are never right.
  EXPECT_DOUBLE_EQ(value_of("f1", predictions({0, 7}, 10), labels({0, 1})), 1.0 / 3);
}

TEST(Metrics, DenseLabelsCountEveryPosition) {
  // One sample, 2 classes, 3 positions: predicted 0 1 1.
  const at::Tensor output = floats({{1, 0, 0}, {0, 1, 1}}).unsqueeze(0);
  EXPECT_DOUBLE_EQ(value_of("top1", output, at::tensor({0, 1, 0}, at::kLong).unsqueeze(0)),
                   2.0 / 3);
}

TEST(Metrics, PooledScoresWithTrailingOnesAreClassScores) {
  EXPECT_DOUBLE_EQ(value_of("top1", predictions({2, 1}, 3).reshape({2, 3, 1, 1}), labels({2, 1})),
                   1.0);
}

TEST(Metrics, SquaredAndAbsoluteErrorsAreMeansOverElements) {
  const at::Tensor output = floats({{1, 2}, {3, 4}});
  const at::Tensor target = floats({{1, 4}, {0, 4}});
  EXPECT_DOUBLE_EQ(value_of("mse", output, target), (0 + 4 + 9 + 0) / 4.0);
  EXPECT_DOUBLE_EQ(value_of("mae", output, target), (0 + 2 + 3 + 0) / 4.0);
}

TEST(Metrics, ErrorsOfAColumnAreNotBroadcastAgainstARow) {
  EXPECT_DOUBLE_EQ(value_of("mae", floats({{1}, {2}, {3}}), at::tensor({1.0F, 2.0F, 6.0F})), 1.0);
}

TEST(Metrics, NamesSampleValueClassesAndSetOfALabelOutOfRange) {
  EXPECT_THAT(message_of("top1", at::zeros({3, 10}), labels({0, 9, 10}), {"test", 128, 3}),
              AllOf(HasSubstr("test"), HasSubstr("sample 130"), HasSubstr("label 10"),
                    HasSubstr("10 classes")));
  EXPECT_THAT(message_of("f1", at::zeros({2, 10}), labels({0, -1}), {"train", 0, 2}),
              AllOf(HasSubstr("train"), HasSubstr("sample 1"), HasSubstr("label -1")));
}

TEST(Metrics, RefusesShapesThatDoNotFit) {
  const BatchOrigin origin{"test", 0, 2};
  EXPECT_THAT(message_of("top1", at::zeros({2, 3}), at::zeros({2}), origin), HasSubstr("[2, 3]"));
  EXPECT_THAT(message_of("top1", at::zeros({2}), labels({0, 1}), origin), HasSubstr("[2]"));
  EXPECT_THAT(message_of("f1", at::zeros({2, 3, 4}), labels({0, 1}), origin),
              HasSubstr("[2, 3, 4]"));
  EXPECT_THAT(message_of("mse", at::zeros({2, 3}), at::zeros({2}), origin),
              AllOf(HasSubstr("[2, 3]"), HasSubstr("differ in shape")));
}

TEST(Metrics, AnUnknownNameIsAnErrorThatNamesTheNearest) {
  try {
    find_metric("top_1");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kRecipe);
    EXPECT_THAT(error.what(), HasSubstr("top_1"));
    EXPECT_THAT(error.hint(), HasSubstr("\"top1\""));
  }
}

}  // namespace
}  // namespace edgecompress
