#include "data/dataset.h"

#include <set>

#include "data/tensor_dataset.h"
#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

/// One column, 0, 1, ..., so that a sample says which one it is.
class DataSetsTest : public ::testing::Test {
 protected:
  DataSetsTest() {
    std::vector<float> values(100);
    std::vector<std::uint8_t> labels(100);
    for (int i = 0; i < 100; ++i)
      values[i] = static_cast<float>(i), labels[i] = static_cast<std::uint8_t>(i % 10);
    folder_.write("x.npy", npy_file(npy_dict("<f4", "(100, 1)"), bytes_of(values)));
    folder_.write("y.npy", npy_file(npy_dict("|u1", "(100,)"), bytes_of(labels)));
    recipe_.base = folder_.path();
    recipe_.seed = 7;
  }

  DatasetSpec source() const {
    DatasetSpec spec;
    spec.source = "npy";
    spec.path = ".";
    spec.inputs = {"x"};
    spec.target = "y";
    return spec;
  }
  static DatasetSpec taken(const std::string& from, std::optional<double> split = {},
                           std::optional<std::int64_t> limit = {}) {
    DatasetSpec spec;
    spec.from = from;
    spec.split = split;
    spec.limit = limit;
    return spec;
  }
  static std::set<int> numbers(const std::shared_ptr<const Dataset>& dataset) {
    std::set<int> found;
    const auto values = read_all(*dataset).inputs[0].flatten();
    for (std::int64_t i = 0; i < values.numel(); ++i)
      found.insert(static_cast<int>(values[i].item<float>()));
    EXPECT_EQ(static_cast<std::int64_t>(found.size()), dataset->size());
    return found;
  }

  Folder folder_;
  Recipe recipe_;
};

TEST_F(DataSetsTest, SplitsAreDisjointAndTogetherTheWhole) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    recipe_.seed = static_cast<std::int64_t>(seed);
    recipe_.data = {
        {"train", source()}, {"validation", taken("train", 0.1)}, {"test", taken("train", 0.25)}};
    const auto sets = open_data(recipe_);
    EXPECT_EQ(sets.train->size(), 65);
    EXPECT_EQ(sets.validation->size(), 10);
    EXPECT_EQ(sets.test->size(), 25);
    std::set<int> all;
    for (const auto& set : {sets.train, sets.validation, sets.test}) all.merge(numbers(set));
    EXPECT_EQ(all.size(), 100u);
  }
}

TEST_F(DataSetsTest, SplitsHangOnTheSeedAlone) {
  recipe_.data = {{"train", source()}, {"validation", taken("train", 0.3)}};
  const auto first = numbers(open_data(recipe_).validation);
  EXPECT_EQ(first, numbers(open_data(recipe_).validation));
  recipe_.seed = 8;
  EXPECT_NE(first, numbers(open_data(recipe_).validation));
}

TEST_F(DataSetsTest, ASetTakenWithoutSplitSharesWhatTheSplitsLeft) {
  recipe_.data = {{"train", source()},
                  {"validation", taken("train", 0.2)},
                  {"calibration", taken("train", {}, 16)}};
  const auto sets = open_data(recipe_);
  const auto train = numbers(sets.train);
  EXPECT_EQ(sets.calibration->size(), 16);
  for (const auto number : numbers(sets.calibration)) EXPECT_EQ(train.count(number), 1u);
}

TEST_F(DataSetsTest, LimitComesBeforeTheSplitOfASet) {
  auto train = source();
  train.limit = 50;
  recipe_.data = {{"train", train}, {"validation", taken("train", 0.2)}};
  const auto sets = open_data(recipe_);
  EXPECT_EQ(sets.train->size(), 40);
  EXPECT_EQ(sets.validation->size(), 10);
}

TEST_F(DataSetsTest, LabelsStayWithTheirSamples) {
  recipe_.data = {{"train", source()}, {"validation", taken("train", 0.3)}};
  const auto batch = read_all(*open_data(recipe_).validation);
  EXPECT_TRUE(at::equal(batch.inputs[0].flatten().to(at::kLong).remainder(10), batch.target));
}

TEST_F(DataSetsTest, CalibrationIsTakenFromTrainWithoutLabels) {
  recipe_.data = {{"train", source()}, {"validation", taken("train", 0.2)}};
  const auto sets = open_data(recipe_);
  ASSERT_TRUE(sets.calibration);
  EXPECT_FALSE(sets.calibration->has_target());
  EXPECT_FALSE(sets.calibration->read({0}, 0).target.defined());
  EXPECT_EQ(numbers(sets.calibration), numbers(sets.train));
  recipe_.data = {{"validation", source()}};
  EXPECT_EQ(open_data(recipe_).calibration->size(), 100);
  recipe_.data = {{"test", source()}};
  EXPECT_FALSE(open_data(recipe_).calibration);
}

TEST_F(DataSetsTest, ChoicesAreMadeOnValidationElseTestElseTrain) {
  recipe_.data = {{"train", source()}, {"validation", taken("train", 0.2)}, {"test", source()}};
  auto sets = open_data(recipe_);
  EXPECT_EQ(sets.for_choices_name(), "validation");
  EXPECT_EQ(sets.for_choices(), sets.validation);
  EXPECT_TRUE(sets.notes.empty());
  recipe_.data.erase("validation");
  sets = open_data(recipe_);
  EXPECT_EQ(sets.for_choices_name(), "test");
  EXPECT_THAT(sets.notes, ::testing::ElementsAre(::testing::HasSubstr("choices are made on test")));
  recipe_.data.erase("test");
  sets = open_data(recipe_);
  EXPECT_EQ(sets.for_choices(), sets.train);
  EXPECT_THAT(sets.notes,
              ::testing::ElementsAre(::testing::HasSubstr("choices are made on train")));
  recipe_.data.clear();
  EXPECT_EQ(open_data(recipe_).for_choices(), nullptr);
}

TEST_F(DataSetsTest, ATakenSetHasTheTransformsOfItsOrigin) {
  auto train = source();
  train.transforms = Json::parse(R"([{"scale": {"divisor": 100}}])");
  recipe_.data = {{"train", train}, {"validation", taken("train", 0.2)}};
  EXPECT_LE(read_all(*open_data(recipe_).validation).inputs[0].max().item<float>(), 1);
  recipe_.data["validation"].transforms = Json::parse(R"([{"to_float": {}}])");
  EXPECT_GT(read_all(*open_data(recipe_).validation).inputs[0].max().item<float>(), 1);
}

TEST(DataSets, OnlyTrainIsAugmented) {
  Recipe recipe;
  DatasetSpec train;
  train.source = "synthetic";
  train.options = {{"samples", 40}};
  train.transforms = Json::parse(R"([{"random_flip": {"probability": 1}}, {"layout": {}}])");
  recipe.data["train"] = train;
  recipe.data["validation"].from = "train";
  const auto sets = open_data(recipe);
  const auto flipped = read_all(*sets.train).inputs[0],
             plain = read_all(*sets.validation).inputs[0];
  EXPECT_TRUE(at::equal(flipped, plain.flip({3})));
  EXPECT_TRUE(at::equal(read_all(*sets.calibration).inputs[0], plain));
  EXPECT_TRUE(sets.train->is_augmented());
  EXPECT_FALSE(sets.calibration->is_augmented());
  recipe.data["train"].augment = false;
  EXPECT_FALSE(open_data(recipe).train->is_augmented());
  EXPECT_TRUE(at::equal(read_all(*open_data(recipe).train).inputs[0], plain));
}

TEST_F(DataSetsTest, SetsTakenInACircleAreRefused) {
  recipe_.data = {{"train", taken("validation", 0.5)}, {"validation", taken("train", 0.5)}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kRecipe, {"/data/", "circle"});
  recipe_.data = {{"train", taken("train", 0.5)}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kRecipe, {"/data/train/from", "circle"});
}

TEST_F(DataSetsTest, RefusesWhatLeavesNothing) {
  recipe_.data = {
      {"train", source()}, {"validation", taken("train", 0.6)}, {"test", taken("train", 0.5)}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kRecipe, {"/split", "leaves an empty set"});
  recipe_.data = {{"train", source()}, {"validation", taken("train", 0.001)}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kRecipe, {"/data/validation/split"});
}

TEST_F(DataSetsTest, NamesWhatIsMissing) {
  recipe_.data = {{"validation", taken("train", 0.5)}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kRecipe,
               {"/data/validation/from", "'train'"});
  auto spec = source();
  spec.source = "npzz";
  recipe_.data = {{"train", spec}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kRecipe,
               {"/data/train/source", "did you mean 'npz'?"});
  spec = source();
  spec.path = "";
  recipe_.data = {{"train", spec}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kRecipe, {"/data/train/path"});
  spec = source();
  spec.inputs = {"z"};
  recipe_.data = {{"train", spec}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kData, {"z.npy", "No such file"});
}

TEST_F(DataSetsTest, MapsLabelsForASetAndAllThatIsTakenFromIt) {
  auto spec = source();
  spec.map_labels = {0, 0, 1, 1, 1, 1, 1, 1, 0, 0};
  recipe_.data = {{"train", spec}, {"validation", taken("train", 0.2)}};
  const DataSets sets = open_data(recipe_);
  for (const auto& set : {sets.train, sets.validation}) {
    const Batch all = read_all(*set);
    const auto id = all.inputs[0].flatten().to(at::kLong).remainder(10);
    EXPECT_TRUE(at::equal(all.target, id.ge(2).logical_and(id.lt(8)).to(at::kLong)));
    EXPECT_EQ(set->label_range()->high, 1);
  }
}

TEST_F(DataSetsTest, RefusesLabelsThatMapLabelsDoesNotName) {
  auto spec = source();
  spec.map_labels = {0, 1, 1};
  recipe_.data = {{"train", spec}};
  expect_error([&] { open_data(recipe_); }, ExitCode::kData,
               {"data set 'train'", "classes 0 to 2", "from 0 to 9"});
}

TEST_F(DataSetsTest, OneSetOnItsOwn) {
  auto spec = source();
  spec.limit = 5;
  EXPECT_EQ(open_dataset(spec, folder_.path(), 1, false)->size(), 5);
  expect_error([&] { open_dataset(taken("train"), folder_.path(), 1, false); }, ExitCode::kRecipe,
               {"/from"});
}

TEST(TensorDataset, BringsTargetsToOneForm) {
  const TensorDataset bytes({at::zeros({3, 2})}, at::tensor({2, 0, 1}, at::kByte).view({3, 1}));
  EXPECT_TRUE(at::equal(read_all(bytes).target, at::tensor({2, 0, 1}, at::kLong)));
  EXPECT_EQ(bytes.label_range()->high, 2);
  const TensorDataset doubles({at::zeros({3, 2})}, at::zeros({3}, at::kDouble));
  EXPECT_EQ(read_all(doubles).target.scalar_type(), at::kFloat);
  EXPECT_FALSE(doubles.label_range());
}

TEST(TensorDataset, RefusesSizesThatDiffer) {
  expect_error(
      [] {
        TensorDataset({at::zeros({3}), at::zeros({4})});
      },
      ExitCode::kData, {"3 and 4"});
  expect_error([] { TensorDataset({at::zeros({3})}, at::zeros({2})); }, ExitCode::kData,
               {"3 samples", "2 targets"});
}

}  // namespace
}  // namespace edgecompress
