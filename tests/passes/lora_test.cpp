#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "edgecompress/error.h"
#include "model/safetensors.h"
#include "passes/training_bench.h"

namespace edgecompress {
namespace {

using testing::TrainingBench;

const Json kFast = {{"epochs", 3}, {"rank", 2}, {"alpha", 4}, {"optimizer", {{"lr", 0.02}}}};

Json fast(const Json& more = Json::object()) {
  Json options = kFast;
  options.update(more);
  return options;
}

TEST(Lora, LowersTheLoss) {
  for (const char* network : {"mlp", "cnn", "depthwise_cnn", "conv1d", "transformer"}) {
    TrainingBench bench(network);
    const PassResult result = bench.run("lora", fast());
    EXPECT_TRUE(result.changed) << network;
    EXPECT_LT(result.details["losses"].back().get<double>(),
              result.details["losses"].front().get<double>())
        << network;
  }
}

TEST(Lora, MovesWeightsByTheProductInItsFilesAndNothingElse) {
  TrainingBench bench("mlp");
  const Model base = bench.model.clone();
  const PassResult result = bench.run("lora", fast({{"targets", {"^fc1$", "^fc3$"}}}));
  EXPECT_EQ(result.counts.at("adapters"), 2);
  const Safetensors adapter =
      read_safetensors(result.files.at("adapter/adapter_model.safetensors"), "adapter");
  ASSERT_EQ(adapter.tensors.size(), 4U);
  for (const auto& [name, before] : base.named_parameters()) {
    const std::string key = "base_model.model." + name.substr(0, name.find('.'));
    at::Tensor expected = before.detach();
    if (name == "fc1.weight" || name == "fc3.weight") {
      expected = expected + 2 * at::matmul(adapter.tensors.at(key + ".lora_B.weight"),
                                           adapter.tensors.at(key + ".lora_A.weight"));
      EXPECT_FALSE(bench.model.tensor(name).equal(before)) << name;
    }
    EXPECT_TRUE(at::allclose(bench.model.tensor(name), expected, 1e-6, 1e-7)) << name;
  }
}

TEST(Lora, LeavesNoTraceInTheModel) {
  TrainingBench bench;
  const Model base = bench.model.clone();
  bench.run("lora", fast());
  const auto before = base.named_parameters();
  const auto after = bench.model.named_parameters();
  ASSERT_EQ(after.size(), before.size());
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i].first, before[i].first);
}

TEST(Lora, KeepsTheZerosOfPrunedWeights) {
  TrainingBench bench;
  bench.run("prune_weights", {{"ratio", 0.5}});
  const at::Tensor zeros = bench.model.tensor("conv2.weight") == 0;
  bench.run("lora", fast());
  EXPECT_TRUE((bench.model.tensor("conv2.weight") == 0).equal(zeros));
}

TEST(Lora, TrainsNormsOnlyIfAsked) {
  TrainingBench without, with;
  const at::Tensor before = without.model.tensor("bn1.weight").detach().clone();
  without.run("lora", fast());
  with.run("lora", fast({{"train_norms", true}}));
  EXPECT_TRUE(without.model.tensor("bn1.weight").equal(before));
  EXPECT_FALSE(with.model.tensor("bn1.weight").equal(before));
}

TEST(Lora, LeavesAWeightAloneThatAnEmbeddingReadsToo) {
  torch::jit::Module net("__torch__.Net");
  net.register_attribute("training", c10::BoolType::get(), false);
  net.register_parameter("weight", at::randn({6, 4}), false);
  net.register_parameter("head", at::randn({4, 6}), false);
  net.define(R"(
def forward(self, x):
  y = torch.mean(torch.embedding(self.weight, x, -1, False, False), [1])
  return torch.linear(torch.linear(y, self.weight), self.head)
)");
  TrainingBench bench;
  bench.model = Model::from_module(net, {{{1, 5}, "int64", 6}});
  bench.data.train = nullptr;
  const PassResult result = bench.run("lora", {{"targets", {"weight"}}});
  EXPECT_FALSE(result.changed);
  EXPECT_EQ(result.details["shared_weights_left"].size(), 1U);
}

TEST(Lora, GivesTheModelBackIfNoEpochWasBetter) {
  TrainingBench bench;
  const auto inputs = bench.model.example_inputs(4, 2);
  const at::Tensor before = bench.model.forward(inputs)[0].detach();
  bench.context.score = [](const Forward&) {
    Score score;
    score.value = 1;
    return score;
  };
  const PassResult result = bench.run("lora", fast());
  EXPECT_FALSE(result.changed);
  EXPECT_TRUE(result.files.empty());
  EXPECT_TRUE(bench.model.forward(inputs)[0].equal(before));
}

TEST(Lora, RefusesARankOfZero) {
  EXPECT_THROW(find_pass("lora").description.options.resolve({{"rank", 0}}, ""), Error);
}

}  // namespace
}  // namespace edgecompress
