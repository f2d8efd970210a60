#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "model/safetensors.h"
#include "passes/catalogue.h"
#include "passes/training_bench.h"
#include "recipe/recipe.h"
#include "support/expect_error.h"
#include "util/file.h"

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

/// Numbers that the training keeps beside the model: what it trains, and its optimizer's state.
std::int64_t numbers_kept(const std::string& pass, const Json& options, PassResult& result) {
  TrainingBench bench("transformer");
  std::string state;
  bench.context.checkpoint.save = [&](const std::string& bytes) { state = bytes; };
  result = bench.run(pass, options);
  std::int64_t numbers = 0;
  for (const auto& [name, tensor] : read_safetensors(state, "state").tensors) {
    numbers += tensor.numel();
  }
  return numbers;
}

TEST(Lora, KeepsOptimizerStateOfItsAdaptersOnly) {
  const Json adamw = {{"epochs", 1}, {"keep_best", false}, {"optimizer", {{"name", "adamw"}}}};
  PassResult lora, full;
  const std::int64_t of_lora = numbers_kept("lora", adamw, lora);
  const std::int64_t of_all = numbers_kept("finetune", adamw, full);
  // Each number trained, and AdamW's two means of its gradient; `few` for counts of steps.
  const std::int64_t few = 100;
  const auto trained = static_cast<std::int64_t>(lora.counts.at("adapter_parameters"));
  EXPECT_GE(of_lora, 3 * trained);
  EXPECT_LE(of_lora, 3 * trained + few);
  EXPECT_GE(of_all, 3 * static_cast<std::int64_t>(lora.counts.at("base_parameters")));
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

/// An embedding whose weight the head multiplies with too.
Model tied_network() {
  torch::jit::Module net("__torch__.Net");
  net.register_attribute("training", c10::BoolType::get(), false);
  net.register_parameter("weight", at::randn({6, 4}), false);
  net.register_parameter("head", at::randn({4, 6}), false);
  net.define(R"(
def forward(self, x):
  y = torch.mean(torch.embedding(self.weight, x, -1, False, False), [1])
  return torch.linear(torch.linear(y, self.weight), self.head)
)");
  return Model::from_module(net, {{{1, 5}, "int64", 6}});
}

TEST(Lora, LeavesAWeightAloneThatAnEmbeddingReadsTooUnlessBothAreNamed) {
  TrainingBench bench;
  bench.model = tied_network();
  const at::Tensor words = at::randint(0, 6, {64, 5}, at::kLong);
  bench.data.train = std::make_shared<TensorDataset>(std::vector<at::Tensor>{words},
                                                     words.select(1, 0).remainder(4));
  const at::Tensor before = bench.model.tensor("weight").detach().clone();
  const PassResult by_default = bench.run("lora", fast());
  ASSERT_EQ(by_default.details["left"].size(), 1U);
  EXPECT_EQ(by_default.details["left"][0]["layer"], "weight");
  EXPECT_TRUE(bench.model.tensor("weight").equal(before));
  EXPECT_EQ(bench.run("lora", fast({{"targets", {"weight"}}})).counts.at("adapters"), 1);
  EXPECT_FALSE(bench.model.tensor("weight").equal(before));
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

TEST(Lora, GivesLayersRanksOfTheirOwn) {
  TrainingBench bench("mlp");
  const PassResult result = bench.run(
      "lora", fast({{"rank_pattern",
                     {{{"layers", "^fc1$"}, {"rank", 5}}, {{"layers", "fc"}, {"alpha", 9.5}}}}}));
  const Json& adapters = result.details["adapters"];
  ASSERT_EQ(adapters.size(), 3U);
  EXPECT_EQ(adapters[0]["rank"], 5);
  EXPECT_EQ(adapters[0]["alpha"], 4);
  EXPECT_EQ(adapters[1]["rank"], 2);
  EXPECT_EQ(adapters[1]["alpha"], 9.5);
  const Safetensors file =
      read_safetensors(result.files.at("adapter/adapter_model.safetensors"), "adapter");
  EXPECT_EQ(file.tensors.at("base_model.model.fc1.lora_A.weight").size(0), 5);
}

TEST(Lora, LeavesTheBaseUntouchedWithoutMerging) {
  for (const char* network : {"mlp", "cnn", "transformer"}) {
    for (const char* init : {"kaiming", "pissa"}) {
      TrainingBench bench(network);
      const Model base = bench.model.clone();
      const auto inputs = bench.model.example_inputs(4, 2);
      const PassResult result =
          bench.run("lora", fast({{"merge", false}, {"dropout", 0.1}, {"init", init}}));
      ASSERT_TRUE(result.changed);
      for (const auto& [name, parameter] : base.named_parameters()) {
        EXPECT_TRUE(bench.model.tensor(name).equal(parameter)) << network << " " << name;
      }
      EXPECT_GT(bench.model.named_parameters().size(), base.named_parameters().size());
      EXPECT_FALSE(bench.model.forward(inputs)[0].equal(base.forward(inputs)[0]));
    }
  }
}

TEST(Lora, TrainsModulesToSaveAsAWhole) {
  TrainingBench bench("mlp");
  const at::Tensor head = bench.model.tensor("fc3.bias").detach().clone();
  const PassResult result = bench.run("lora", fast({{"modules_to_save", {"^fc3$"}}}));
  EXPECT_EQ(result.counts.at("adapters"), 2);
  EXPECT_FALSE(bench.model.tensor("fc3.bias").equal(head));
  const Safetensors file =
      read_safetensors(result.files.at("adapter/adapter_model.safetensors"), "adapter");
  EXPECT_TRUE(file.tensors.at("base_model.model.fc3.bias").equal(bench.model.tensor("fc3.bias")));
  EXPECT_EQ(Json::parse(result.files.at("adapter/adapter_config.json"))["modules_to_save"],
            Json({"fc3"}));
}

/// The files of one run, as the next one reads them.
void offer(TrainingBench& bench, const PassResult& result) {
  bench.context.read_file = [files = result.files](const std::string& path, std::int64_t) {
    return files.at(path);
  };
}

const Json kLoad = {{"epochs", 0}, {"adapters", {{{"path", "adapter"}}}}};

TEST(Lora, LoadsWhatItWroteToTheSameBits) {
  const Json variants[] = {Json::object(),
                           {{"rslora", true}},
                           {{"dora", true}},
                           {{"init", "pissa"}},
                           {{"init", "pissa"}, {"dora", true}, {"rslora", true}},
                           {{"train_norms", true}},
                           {{"dropout", 0.2}},
                           {{"modules_to_save", {"fc", "head"}}}};
  for (const char* network : {"mlp", "cnn", "depthwise_cnn", "conv1d", "transformer"}) {
    for (const Json& variant : variants) {
      if (network == std::string("mlp") && variant.contains("modules_to_save")) continue;
      TrainingBench trained(network), loaded(network);
      const auto inputs = trained.model.example_inputs(4, 2);
      offer(loaded, trained.run("lora", fast(variant)));
      loaded.data.train = nullptr;
      const PassResult result = loaded.run("lora", kLoad);
      EXPECT_TRUE(result.changed);
      EXPECT_TRUE(result.files.empty());
      EXPECT_TRUE(loaded.model.forward(inputs)[0].equal(trained.model.forward(inputs)[0]))
          << network << " " << variant.dump();
    }
  }
}

TEST(Lora, LoadsOverAPrunedBaseToTheSameBits) {
  TrainingBench trained, loaded;
  for (TrainingBench* bench : {&trained, &loaded}) bench->run("prune_weights", {{"ratio", 0.5}});
  const auto inputs = trained.model.example_inputs(4, 2);
  offer(loaded, trained.run("lora", fast()));
  loaded.run("lora", kLoad);
  EXPECT_TRUE(loaded.model.forward(inputs)[0].equal(trained.model.forward(inputs)[0]));
}

TEST(Lora, KeepsLoadedAdaptersApartIfAsked) {
  TrainingBench trained("mlp"), loaded("mlp");
  const auto inputs = trained.model.example_inputs(4, 2);
  const PassResult result = trained.run("lora", fast({{"merge", false}}));
  offer(loaded, result);
  Json options = kLoad;
  options["merge"] = false;
  loaded.run("lora", options);
  EXPECT_TRUE(loaded.model.forward(inputs)[0].equal(trained.model.forward(inputs)[0]));
}

TEST(Lora, GoesOnTrainingALoadedAdapter) {
  TrainingBench first("mlp"), second("mlp"), third("mlp");
  const auto inputs = first.model.example_inputs(4, 2);
  offer(second, first.run("lora", fast({{"dora", true}})));
  const PassResult result = second.run(
      "lora",
      {{"epochs", 2}, {"optimizer", {{"lr", 0.02}}}, {"adapters", {{{"path", "adapter"}}}}});
  EXPECT_TRUE(result.changed);
  EXPECT_FALSE(second.model.forward(inputs)[0].equal(first.model.forward(inputs)[0]));
  offer(third, result);
  third.run("lora", kLoad);
  EXPECT_TRUE(third.model.forward(inputs)[0].equal(second.model.forward(inputs)[0]));
}

TEST(Lora, AddsSeveralAdaptersByTheirWeights) {
  TrainingBench one("mlp"), other("mlp"), both("mlp");
  const at::Tensor base = both.model.tensor("fc2.weight").detach().clone();
  one.context.seed = 6;
  const auto first = one.run("lora", fast()).files;
  const auto second = other.run("lora", fast({{"dora", true}})).files;
  both.context.read_file = [&](const std::string& path, std::int64_t) {
    const auto slash = path.find('/');
    return (path.substr(0, slash) == "one" ? first : second).at("adapter" + path.substr(slash));
  };
  const PassResult result = both.run(
      "lora",
      {{"epochs", 0}, {"adapters", {{{"path", "one"}, {"weight", 0.5}}, {{"path", "other"}}}}});
  EXPECT_EQ(result.details["loaded"].size(), 2U);
  const at::Tensor expected = base + 0.5 * (one.model.tensor("fc2.weight") - base) +
                              (other.model.tensor("fc2.weight") - base);
  EXPECT_TRUE(at::allclose(both.model.tensor("fc2.weight"), expected, 1e-5, 1e-6));
}

struct Int8Form {
  const char* network;
  Json options;
};
class LoraOverInt8 : public ::testing::TestWithParam<Int8Form> {};

TEST_P(LoraOverInt8, TrainsAndMergesIntoWeightsOfTheSameForm) {
  TrainingBench bench(GetParam().network);
  bench.run("quantize_int8", GetParam().options);
  const Model base = bench.model.clone();
  const auto inputs = bench.model.example_inputs(4, 2);
  const PassResult result = bench.run("lora", fast());
  ASSERT_TRUE(result.changed);
  EXPECT_LT(result.details["losses"].back().get<double>(),
            result.details["losses"].front().get<double>());
  EXPECT_EQ(result.details["requantized"].size(), result.counts.at("adapters"));
  for (const auto& row : result.details["requantized"]) {
    EXPECT_LT(row["largest_error"].get<double>(), 0.2) << row.dump();
  }
  // Attribute by attribute it is the network that it was, with other numbers in the INT8 weights.
  for (const auto& attribute : base.module().named_attributes()) {
    ASSERT_TRUE(bench.model.has_attribute(attribute.name)) << attribute.name;
    if (!attribute.value.isTensor()) continue;
    const at::Tensor now = bench.model.tensor(attribute.name);
    EXPECT_EQ(now.scalar_type(), attribute.value.toTensor().scalar_type()) << attribute.name;
    EXPECT_EQ(now.sizes(), attribute.value.toTensor().sizes()) << attribute.name;
  }
  EXPECT_FALSE(bench.model.forward(inputs)[0].equal(base.forward(inputs)[0]));
}

TEST_P(LoraOverInt8, StaysApartFromUntouchedInt8Weights) {
  TrainingBench bench(GetParam().network);
  bench.run("quantize_int8", GetParam().options);
  const Model base = bench.model.clone();
  const auto inputs = bench.model.example_inputs(4, 2);
  const PassResult result = bench.run("lora", fast({{"merge", false}}));
  ASSERT_TRUE(result.changed);
  EXPECT_FALSE(result.details.contains("requantized"));
  for (const auto& attribute : base.module().named_attributes()) {
    if (!attribute.value.isTensor()) continue;
    EXPECT_TRUE(bench.model.tensor(attribute.name).equal(attribute.value.toTensor()))
        << attribute.name;
  }
  EXPECT_FALSE(bench.model.forward(inputs)[0].equal(base.forward(inputs)[0]));
  const std::string graph = bench.model.graph().toString();
  const std::string op =
      GetParam().options["mode"] == "dynamic" && !GetParam().options.contains("portable")
          ? "quantized::linear"
          : "_values";
  EXPECT_NE(graph.find(op), std::string::npos) << graph;
  EXPECT_EQ(graph.find("float_weight"), std::string::npos);
}

const Json kDynamic = {{"mode", "dynamic"}};
const Json kPortable = {{"mode", "dynamic"}, {"portable", true}};
const Json kBytes = {{"mode", "weight_only"}, {"smallest_size", 1}};
const Json kNibbles = {
    {"mode", "weight_only"}, {"smallest_size", 1}, {"bits", 4}, {"group_size", 8}};

INSTANTIATE_TEST_SUITE_P(
    Forms, LoraOverInt8,
    ::testing::Values(Int8Form{"transformer", kDynamic}, Int8Form{"mlp", kDynamic},
                      Int8Form{"transformer", kPortable}, Int8Form{"mlp", kPortable},
                      Int8Form{"transformer", kBytes}, Int8Form{"transformer", kNibbles}),
    [](const auto& test) { return "Form" + std::to_string(test.index); });

TEST(Lora, MayFollowInt8WeightsButNoInt8Activations) {
  const auto parse = [](const Json& quantize) {
    const Json recipe = {{"model", {{"path", "model.pt"}}},
                         {"data", {{"train", {{"source", "synthetic"}}}}},
                         {"passes", {quantize, {{"pass", "lora"}}}}};
    return parse_recipe(recipe, ".", pass_catalogue());
  };
  EXPECT_EQ(parse({{"pass", "quantize_int8"}, {"mode", "dynamic"}}).passes.size(), 2U);
  EXPECT_EQ(parse({{"pass", "quantize_int8"}, {"mode", "weight_only"}}).passes.size(), 2U);
  testing::expect_error(ExitCode::kRecipe, "/passes/1", [&] {
    parse({{"pass", "quantize_int8"}, {"mode", "static"}});
  });
}

TEST(Lora, RefusesToTrainThroughInt8Activations) {
  TrainingBench bench("cnn");
  bench.data.calibration = bench.data.train;
  bench.run("quantize_int8", {{"mode", "static"}});
  testing::expect_error(ExitCode::kPass, "no gradient", [&] { bench.run("lora", fast()); });
}

/// Stock PyTorch, with a parser of its own, adds the stored adapter to the base and runs what we
/// saved.
TEST(Lora, IsWhatStockPyTorchMakesOfItsFiles) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(::testing::TempDir()) / ("lora-" + std::to_string(::getpid()));
  const std::pair<const char*, Json> cases[] = {{"mlp", {{"dora", true}}},
                                                {"cnn", {{"dora", true}}},
                                                {"conv1d", {{"init", "pissa"}}},
                                                {"transformer", {{"rslora", true}, {"rank", 3}}}};
  for (const auto& [network, variant] : cases) {
    TrainingBench merged(network), apart(network);
    fs::remove_all(folder);
    fs::create_directories(folder);
    merged.model.save(folder / "base.pt");
    Json options = fast(variant);
    for (const auto& [name, bytes] : merged.run("lora", options).files) {
      write_file_atomic(folder / fs::path(name).filename(), bytes);
    }
    options["merge"] = false;
    apart.run("lora", options);
    merged.model.save(folder / "merged.pt");
    apart.model.save(folder / "apart.pt");
    const std::string command = "/usr/bin/python3 " EDGECOMPRESS_SOURCE_DIR
                                "/tests/passes/lora_in_pytorch.py " +
                                folder.string();
    const int status = std::system((command + " 2>&1").c_str());
    if (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)
      GTEST_SKIP() << "stock PyTorch is not installed";
    EXPECT_EQ(status, 0) << network << " " << variant.dump();
  }
  fs::remove_all(folder);
}

TEST(Lora, RefusesAnAdapterOfAnotherNetwork) {
  TrainingBench trained("mlp"), loaded("cnn");
  offer(loaded, trained.run("lora", fast()));
  testing::expect_error(ExitCode::kData, "fc1", [&] { loaded.run("lora", kLoad); });
}

TEST(Lora, RefusesOptionsThatAnAdapterBringsItself) {
  TrainingBench bench("mlp");
  Json options = kLoad;
  options["rank"] = 3;
  testing::expect_error(ExitCode::kRecipe, "rank", [&] { bench.run("lora", options); });
  testing::expect_error(ExitCode::kRecipe, "epochs", [&] { bench.run("lora", {{"epochs", 0}}); });
  options = {{"adapters", {{{"path", "a"}, {"weight", 2}}}}};
  testing::expect_error(ExitCode::kRecipe, "weight", [&] { bench.run("lora", options); });
}

TEST(Lora, RefusesARankOfZero) {
  EXPECT_THROW(find_pass("lora").description.options.resolve({{"rank", 0}}, ""), Error);
}

}  // namespace
}  // namespace edgecompress
