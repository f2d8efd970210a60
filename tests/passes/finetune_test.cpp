#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "passes/training_bench.h"

namespace edgecompress {
namespace {

using testing::TrainingBench;

TEST(Finetune, LearnsASeparableTask) {
  TrainingBench bench("mlp", 1024);
  bench.score_on_validation();
  const double before = bench.accuracy(bench.model, *bench.data.validation);
  const PassResult result =
      bench.run("finetune", {{"epochs", 12}, {"optimizer", {{"name", "adamw"}, {"lr", 0.01}}}});
  EXPECT_LT(before, 0.6);
  EXPECT_GT(bench.accuracy(bench.model, *bench.data.validation), 0.9);
  EXPECT_TRUE(result.changed);
  EXPECT_EQ(result.counts.at("steps"), 12 * 32);
  EXPECT_EQ(result.details["losses"].size(), 12U);
  EXPECT_EQ(result.details["scores"].size(), 12U);
  EXPECT_EQ(result.details["metric"], "top1");
}

TEST(Finetune, LearnsOnATinyConvolutionalNetwork) {
  TrainingBench bench("cnn");
  // Which of the three channels is brighter than the others: what a network with pooling can see.
  const at::Tensor labels = at::arange(240).remainder(3);
  at::Tensor images = at::randn({240, 3, 12, 12}, at::detail::createCPUGenerator(3)) * 0.5;
  for (std::int64_t i = 0; i < 240; ++i) images[i][i % 3].add_(1);
  bench.data.train = std::make_shared<TensorDataset>(std::vector<at::Tensor>{images}, labels);
  bench.run("finetune", {{"epochs", 6}, {"optimizer", {{"lr", 0.05}}}});
  EXPECT_GT(bench.accuracy(bench.model, *bench.data.train), 0.98);
}

TEST(Finetune, TrainsOnlyWhatTheFiltersAccept) {
  TrainingBench bench;
  const at::Tensor conv = bench.model.tensor("conv1.weight").detach().clone();
  const at::Tensor fc = bench.model.tensor("fc.weight").detach().clone();
  const PassResult result =
      bench.run("finetune", {{"include", {"^fc\\."}}, {"exclude", {"bias$"}}});
  EXPECT_EQ(result.counts.at("parameters_trained"), 16 * 4);
  EXPECT_TRUE(bench.model.tensor("conv1.weight").equal(conv));
  EXPECT_FALSE(bench.model.tensor("fc.weight").equal(fc));
}

TEST(Finetune, SaysThatNothingPassesTheFilters) {
  TrainingBench bench;
  const PassResult result = bench.run("finetune", {{"include", {"no_such_layer"}}});
  EXPECT_FALSE(result.changed);
  EXPECT_NE(result.note.find("filters"), std::string::npos);
}

TEST(Finetune, ReportsNoChangeIfNoEpochWasBetter) {
  TrainingBench bench;
  bench.context.score = [](const Forward&) {
    Score score;
    score.metric = "top1";
    score.value = 1;
    return score;
  };
  const PassResult result = bench.run("finetune", {{"epochs", 2}});
  EXPECT_FALSE(result.changed);
  EXPECT_NE(result.note.find("no epoch was better"), std::string::npos) << result.note;
}

TEST(Finetune, NeedsLabels) {
  const PassDescription description = find_pass("finetune").description;
  EXPECT_TRUE(description.needs.training);
  EXPECT_TRUE(description.needs.labels);
  EXPECT_TRUE(description.needs.float_model);
}

}  // namespace
}  // namespace edgecompress
