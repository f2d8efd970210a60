#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

std::shared_ptr<const Dataset> synthetic(const std::string& task, Json options = Json::object()) {
  options["task"] = task;
  return open_source("synthetic", "", {}, "", options);
}

class SyntheticTask : public ::testing::TestWithParam<const char*> {};

TEST_P(SyntheticTask, ASampleHangsOnItsNumberAlone) {
  const auto set = synthetic(GetParam(), {{"samples", 50}});
  const auto all = read_all(*set);
  const auto some = set->read({41, 7, 7}, 123);
  const auto index = at::tensor({41, 7, 7}, at::kLong);
  EXPECT_TRUE(at::equal(some.inputs[0], all.inputs[0].index_select(0, index)));
  EXPECT_TRUE(at::equal(some.target, all.target.index_select(0, index)));
}

TEST_P(SyntheticTask, OffsetGoesOnWhereAnotherSetEnds) {
  const auto all = read_all(*synthetic(GetParam(), {{"samples", 50}}));
  const auto rest = read_all(*synthetic(GetParam(), {{"samples", 20}, {"offset", 30}}));
  EXPECT_TRUE(at::equal(rest.inputs[0], all.inputs[0].narrow(0, 30, 20)));
  EXPECT_TRUE(at::equal(rest.target, all.target.narrow(0, 30, 20)));
}

TEST_P(SyntheticTask, AnotherSeedIsAnotherTask) {
  EXPECT_FALSE(at::equal(read_all(*synthetic(GetParam())).inputs[0],
                         read_all(*synthetic(GetParam(), {{"seed", 1}})).inputs[0]));
}

INSTANTIATE_TEST_SUITE_P(Tasks, SyntheticTask,
                         ::testing::Values("shapes", "sequences", "vectors", "regression"));

TEST(Synthetic, HasTheShapesAskedFor) {
  const auto shape = [](const std::string& task, const Json& options) {
    return synthetic(task, options)->read({0, 1}, 0).inputs[0].sizes().vec();
  };
  using Sizes = std::vector<std::int64_t>;
  EXPECT_EQ(shape("shapes", {{"size", 24}}), (Sizes{2, 24, 24, 3}));
  EXPECT_EQ(shape("sequences", {{"length", 40}, {"features", 3}}), (Sizes{2, 40, 3}));
  EXPECT_EQ(shape("vectors", {{"features", 5}}), (Sizes{2, 5}));
  EXPECT_EQ(shape("regression", {{"features", 5}}), (Sizes{2, 5}));
}

TEST(Synthetic, ClassesAreBalancedAndNamed) {
  const auto set = synthetic("shapes", {{"samples", 60}, {"classes", 6}});
  EXPECT_EQ(set->class_names().size(), 6u);
  EXPECT_EQ(set->label_range()->high, 5);
  EXPECT_TRUE(at::equal(at::bincount(read_all(*set).target), at::full({6}, 10, at::kLong)));
  EXPECT_FALSE(synthetic("regression")->label_range());
}

TEST(Synthetic, RefusesMoreClassesThanThereAre) {
  expect_error(
      [] {
        synthetic("shapes", {{"classes", 11}});
      },
      ExitCode::kData, {"'shapes'", "11", "at most 10"});
  expect_error([] { synthetic("sequences", {{"classes", 13}}); }, ExitCode::kData, {"at most 12"});
  expect_error([] { synthetic("shape"); }, ExitCode::kRecipe, {"/options/task", "shapes"});
}

/// Share of `test` whose nearest neighbour in `train` is of the same class.
double nearest_neighbour_accuracy(const Batch& train, const Batch& test) {
  const auto flat = [](const Batch& batch) { return batch.inputs[0].to(at::kFloat).flatten(1); };
  const auto nearest = at::cdist(flat(test), flat(train)).argmin(1);
  return train.target.index_select(0, nearest).eq(test.target).to(at::kFloat).mean().item<double>();
}

TEST(Synthetic, VectorsCanBeLearntButNotByALine) {
  const auto train = read_all(*synthetic("vectors", {{"samples", 2000}}));
  const auto test = read_all(*synthetic("vectors", {{"samples", 500}, {"offset", 2000}}));
  EXPECT_GT(nearest_neighbour_accuracy(train, test), 0.9);
  // The best line by least squares on one-hot targets.
  const auto with_one = [](const at::Tensor& x) {
    return at::cat({x, at::ones({x.size(0), 1})}, 1);
  };
  const auto weights =
      at::pinverse(with_one(train.inputs[0])).matmul(at::one_hot(train.target, 10).to(at::kFloat));
  const auto guess = with_one(test.inputs[0]).matmul(weights).argmax(1);
  const auto linear = guess.eq(test.target).to(at::kFloat).mean().item<double>();
  EXPECT_LT(linear, 0.9);
  EXPECT_GT(linear, 0.2);
}

TEST(Synthetic, ShapesAreNotLearntByComparingPixels) {
  const auto train = read_all(*synthetic("shapes", {{"samples", 1000}}));
  const auto test = read_all(*synthetic("shapes", {{"samples", 300}, {"offset", 1000}}));
  EXPECT_LT(nearest_neighbour_accuracy(train, test), 0.6);
}

TEST(Synthetic, RegressionIsMoreThanNoise) {
  const auto clean = read_all(*synthetic("regression", {{"noise", 0}}));
  const auto noisy = read_all(*synthetic("regression"));
  EXPECT_TRUE(at::equal(clean.inputs[0], noisy.inputs[0]));
  EXPECT_LT((clean.target - noisy.target).std().item<double>(),
            0.2 * clean.target.std().item<double>());
}

}  // namespace
}  // namespace edgecompress
