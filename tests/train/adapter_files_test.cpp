#include "train/adapter_files.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/safetensors.h"
#include "support/expect_error.h"
#include "train/adapter_networks.h"

namespace edgecompress {
namespace {

using testing::expect_error;

Adapter linear_adapter(const std::string& module, std::int64_t rank = 2) {
  Adapter adapter;
  adapter.module = module;
  adapter.settings.rank = rank;
  adapter.settings.alpha = 6;
  adapter.a = at::randn({rank, 5});
  adapter.b = at::randn({4, rank});
  return adapter;
}

StoredAdapters read(const Json& config, const std::map<std::string, at::Tensor>& tensors) {
  Safetensors file;
  file.tensors = tensors;
  return read_adapter_files(config.dump(), write_safetensors(file), "adapter");
}

const Json kPlain = {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 6}};
const std::string kFc = "base_model.model.fc.";

std::map<std::string, at::Tensor> plain_tensors() {
  return {{kFc + "lora_A.weight", at::ones({2, 5})}, {kFc + "lora_B.weight", at::ones({4, 2})}};
}

TEST(AdapterFiles, HaveTheNamesAndSettingsOfPeft) {
  StoredAdapters stored;
  stored.adapters = {linear_adapter("layers.0.fc"), linear_adapter("head", 3)};
  stored.adapters[1].settings.alpha = 1.5;
  Adapter words = linear_adapter("words");
  words.kind = LayerKind::kEmbedding;
  stored.adapters.push_back(words);
  stored.tensors["norm.weight"] = at::ones({4});
  const auto files = write_adapter_files(stored);

  const Json config = Json::parse(files.at("adapter_config.json"));
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 2);
  EXPECT_EQ(config["lora_alpha"], 6);
  EXPECT_EQ(config["use_rslora"], false);
  EXPECT_EQ(config["use_dora"], false);
  EXPECT_EQ(config["target_modules"], Json({"layers.0.fc", "head", "words"}));
  EXPECT_EQ(config["rank_pattern"], Json({{"^head", 3}}));
  EXPECT_EQ(config["alpha_pattern"], Json({{"^head", 1.5}}));
  EXPECT_EQ(config["modules_to_save"], Json({"norm"}));

  const Safetensors file = read_safetensors(files.at("adapter_model.safetensors"), "adapter");
  const std::string prefix = "base_model.model.";
  for (const char* name :
       {"layers.0.fc.lora_A.weight", "layers.0.fc.lora_B.weight", "head.lora_A.weight",
        "head.lora_B.weight", "words.lora_embedding_A", "words.lora_embedding_B", "norm.weight"}) {
    EXPECT_EQ(file.tensors.count(prefix + name), 1U) << name;
  }
  EXPECT_EQ(file.tensors.size(), 7U);
}

TEST(AdapterFiles, NameTheOutputProjectionOfPeftsAttention) {
  StoredAdapters stored;
  stored.adapters = {linear_adapter("block.attn"), linear_adapter("block.attn.out_proj")};
  const auto files = write_adapter_files(stored);
  const Safetensors file = read_safetensors(files.at(kAdapterTensorsFile), "adapter");
  EXPECT_EQ(file.tensors.count("base_model.model.block.attn.lora_A.weight"), 1U);
  EXPECT_EQ(file.tensors.count("base_model.model.block.attn.base_layer.out_proj.lora_A.weight"),
            1U);
  const auto back =
      read_adapter_files(files.at(kAdapterConfigFile), files.at(kAdapterTensorsFile), "adapter");
  EXPECT_EQ(back.adapters.at(1).module, "block.attn.out_proj");
}

TEST(AdapterFiles, AreReadBackToTheBit) {
  StoredAdapters stored;
  stored.adapters = {linear_adapter("a.fc"), linear_adapter("fc", 3)};
  for (Adapter& adapter : stored.adapters) {
    adapter.settings.rslora = adapter.settings.dora = true;
    adapter.settings.dropout = 0.25;
    adapter.magnitude = at::rand({4});
  }
  stored.adapters[1].settings.alpha = 0.3;
  stored.tensors["norm.weight"] = at::rand({4});
  const auto files = write_adapter_files(stored);
  const StoredAdapters back =
      read_adapter_files(files.at(kAdapterConfigFile), files.at(kAdapterTensorsFile), "adapter");
  ASSERT_EQ(back.adapters.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const Adapter& was = stored.adapters[i];
    const Adapter& is = back.adapters[i];
    EXPECT_EQ(is.module, was.module);
    EXPECT_TRUE(is.a.equal(was.a) && is.b.equal(was.b) && is.magnitude.equal(was.magnitude));
    EXPECT_EQ(is.settings.rank, was.settings.rank);
    EXPECT_EQ(is.settings.alpha, was.settings.alpha);
    EXPECT_EQ(is.settings.scale(), was.settings.scale());
    EXPECT_EQ(is.settings.dropout, 0.25);
    EXPECT_TRUE(is.settings.dora);
  }
  EXPECT_TRUE(back.tensors.at("norm.weight").equal(stored.tensors["norm.weight"]));
}

TEST(AdapterFiles, OfPeftMayNameMagnitudesAndPatternsInItsWays) {
  Json config = kPlain;
  config["use_dora"] = true;
  config["alpha_pattern"] = {{"f.", 10}};  // a regular expression that the end of a name matches
  auto tensors = plain_tensors();
  tensors[kFc + "lora_magnitude_vector.weight"] = at::ones({4});
  const StoredAdapters stored = read(config, tensors);
  EXPECT_EQ(stored.adapters.at(0).settings.alpha, 10);
  EXPECT_TRUE(stored.adapters.at(0).magnitude.defined());
}

TEST(AdapterFiles, AreRefusedWhereTheyAreNotWhatWeKnow) {
  const auto refuses = [](const Json& more, const std::string& part) {
    Json config = kPlain;
    config.update(more);
    expect_error(ExitCode::kData, part, [&] { read(config, plain_tensors()); });
  };
  refuses({{"peft_type", "VERA"}}, "VERA");
  refuses({{"init_lora_weights", "pissa_niter_4"}}, "pissa");
  refuses({{"bias", "all"}}, "biases");
  refuses({{"fan_in_fan_out", true}}, "transposed");
  refuses({{"lora_alpha", "many"}}, "lora_alpha");
  refuses({{"lora_alpha", -1}}, "alpha");
  refuses({{"lora_dropout", 1}}, "lora_dropout");
  refuses({{"use_dora", true}}, "lora_magnitude_vector");
  expect_error(ExitCode::kData, "JSON", [] { read_adapter_files("[1", "", "adapter"); });
  expect_error(ExitCode::kData, "safetensors",
               [] { read_adapter_files(kPlain.dump(), "short", "adapter"); });
}

TEST(AdapterFiles, AreRefusedWhereTensorsAreWrong) {
  const auto refuses = [](const std::string& name, const at::Tensor& tensor,
                          const std::string& part) {
    auto tensors = plain_tensors();
    tensors[name] = tensor;
    expect_error(ExitCode::kData, part, [&] { read(kPlain, tensors); });
  };
  refuses(kFc + "lora_A.weight", at::ones({3, 5}), "ranks");
  refuses(kFc + "lora_A.weight", at::ones({2, 5}, at::kInt), "not floating");
  refuses(kFc + "lora_A.weight", at::full({2, 5}, std::numeric_limits<float>::infinity()),
          "not finite");
  refuses(kFc + "lora_B.bias", at::ones({4}), "variant");
  refuses("base_model.model.other.lora_A.weight", at::ones({2, 5}), "lacks A or B");
  expect_error(ExitCode::kData, "no adapters", [] { read(kPlain, {}); });
}

TEST(AdapterFiles, FitOnlyLayersOfTheirShape) {
  AdapterTarget target;
  target.module = "fc";
  const Adapter stored = linear_adapter("fc");
  EXPECT_EQ(fit_adapter(stored, target, at::zeros({4, 5}, at::kDouble), "adapter").a.scalar_type(),
            at::kDouble);
  expect_error(ExitCode::kData, "[2, 5]", [&] {
    fit_adapter(stored, target, at::zeros({4, 6}), "adapter");
  });
  target.kind = LayerKind::kEmbedding;
  expect_error(ExitCode::kData, "embedding", [&] {
    fit_adapter(stored, target, at::zeros({5, 4}), "adapter");
  });
}

}  // namespace
}  // namespace edgecompress
