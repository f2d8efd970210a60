#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <map>

#include "data/tensor_dataset.h"
#include "data/views.h"
#include "passes/training_bench.h"
#include "support/expect_error.h"

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

TEST(Finetune, LeavesWhatIsFrozenAsItIs) {
  TrainingBench bench;
  const at::Tensor conv = bench.model.tensor("conv1.weight").detach().clone();
  const at::Tensor fc = bench.model.tensor("fc.weight").detach().clone();
  const PassResult result =
      bench.run("finetune", {{"freeze", {"^(?!fc\\.)", "bias$"}}, {"epochs", 1}});
  EXPECT_EQ(result.counts.at("parameters_trained"), 16 * 4);
  EXPECT_TRUE(bench.model.tensor("conv1.weight").equal(conv));
  EXPECT_FALSE(bench.model.tensor("fc.weight").equal(fc));
}

TEST(Finetune, KeepsTheStatisticsOfFrozenBatchNormsAlone) {
  TrainingBench bench;
  const Model before = bench.model.clone();
  bench.run("finetune", {{"freeze", {"^conv1\\.", "^bn1\\."}}});
  EXPECT_TRUE(bench.model.tensor("bn1.running_mean").equal(before.tensor("bn1.running_mean")));
  EXPECT_TRUE(bench.model.tensor("bn1.running_var").equal(before.tensor("bn1.running_var")));
  EXPECT_FALSE(bench.model.tensor("bn2.running_mean").equal(before.tensor("bn2.running_mean")));

  TrainingBench still;
  still.run("finetune", {{"freeze", {"."}}, {"head", {{"classes", 4}}}});
  for (const auto& [name, parameter] : still.model.named_parameters()) {
    if (name.rfind("fc.", 0) == 0) continue;
    EXPECT_TRUE(parameter.equal(before.tensor(name))) << name;
  }
  EXPECT_TRUE(still.model.tensor("bn2.running_var").equal(before.tensor("bn2.running_var")));
  EXPECT_EQ(still.model.graph().toString(false), before.graph().toString(false));
}

TEST(Finetune, SaysThatEverythingIsFrozen) {
  TrainingBench bench;
  const PassResult result = bench.run("finetune", {{"freeze", {"."}}});
  EXPECT_FALSE(result.changed);
  EXPECT_NE(result.note.find("frozen"), std::string::npos);
}

/// Two classes instead of four, that inputs of either can tell apart.
void halve_classes(TrainingBench& bench) {
  for (auto* set : {&bench.data.train, &bench.data.validation}) {
    *set = std::make_shared<MappedLabelsDataset>(*set, std::vector<std::int64_t>{0, 0, 1, 1}, "");
  }
}

TEST(Finetune, LearnsOtherClassesWithANewHead) {
  TrainingBench bench("mlp", 1024);
  halve_classes(bench);
  bench.score_on_validation();
  const PassResult result =
      bench.run("finetune", {{"head", {{"classes", 2}}},
                             {"epochs", 8},
                             {"optimizer", {{"name", "adamw"}, {"lr", 0.01}}}});
  EXPECT_TRUE(result.changed);
  EXPECT_EQ(result.details["head"], "fc3");
  EXPECT_NE(result.note.find("fc3 has 2 outputs instead of 4"), std::string::npos) << result.note;
  EXPECT_EQ(bench.model.tensor("fc3.weight").sizes(), (at::IntArrayRef{2, 16}));
  EXPECT_GT(bench.accuracy(bench.model, *bench.data.validation), 0.9);
}

TEST(Finetune, TrainsANewHeadThoughAllIsFrozen) {
  TrainingBench bench;
  halve_classes(bench);
  const at::Tensor conv = bench.model.tensor("conv1.weight").detach().clone();
  const PassResult result =
      bench.run("finetune", {{"head", {{"classes", 2}, {"layer", "fc"}}}, {"freeze", {"."}}});
  EXPECT_EQ(result.counts.at("parameters_trained"), 16 * 2 + 2);
  EXPECT_TRUE(bench.model.tensor("conv1.weight").equal(conv));
}

TEST(Finetune, RefusesLabelsThatANewHeadHasNoOutputFor) {
  TrainingBench bench;
  testing::expect_error(
      ExitCode::kData, "labels of the training set run up to 3",
      [&] {
        bench.run("finetune", {{"head", {{"classes", 3}}}});
      },
      "map_labels");
}

TEST(Finetune, LearningRatesDecayFromTheLastLayerOn) {
  std::map<std::string, at::Tensor> moves[2];
  for (const double decay : {1.0, 0.5}) {
    TrainingBench bench("mlp");
    bench.data.train_batch = 256;  // one step
    const Model before = bench.model.clone();
    bench.run("finetune", {{"layer_lr_decay", decay}, {"optimizer", {{"momentum", 0}}}});
    for (const auto& [name, parameter] : bench.model.named_parameters()) {
      moves[decay == 1 ? 0 : 1][name] = parameter.detach() - before.tensor(name).detach();
    }
  }
  const std::pair<const char*, double> rates[] = {
      {"fc3.weight", 1}, {"fc3.bias", 1}, {"fc2.weight", 0.5}, {"fc1.bias", 0.25}};
  for (const auto& [name, rate] : rates) {
    EXPECT_GT(moves[0][name].abs().max().item<double>(), 1e-6) << name;
    EXPECT_TRUE(at::allclose(moves[1][name], moves[0][name] * rate, 1e-3, 1e-7)) << name;
  }
}

TEST(Finetune, LayersJoinOneByOneFromTheLast) {
  TrainingBench bench("mlp");
  bench.data.train_batch = 256;  // an epoch is a step
  const Model before = bench.model.clone();
  std::map<std::string, int> unmoved;
  bench.context.score = [&](const Forward&) {
    for (const char* name : {"fc1.weight", "fc2.weight", "fc3.weight"}) {
      unmoved[name] += bench.model.tensor(name).equal(before.tensor(name)) ? 1 : 0;
    }
    Score score;
    score.metric = "top1";
    score.value = static_cast<double>(++unmoved["calls"]);
    return score;
  };
  bench.run("finetune", {{"epochs", 10}, {"unfreeze", 0.9}});
  // Each is scored once before the training. Starts: 0, 0.9 / 3 and 0.9 * 2 / 3 of ten steps.
  EXPECT_EQ(unmoved["fc3.weight"], 1);
  EXPECT_EQ(unmoved["fc2.weight"], 1 + 3);
  EXPECT_EQ(unmoved["fc1.weight"], 1 + 6);
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
