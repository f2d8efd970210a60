#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "model/runtime.h"
#include "passes/registry.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

using torch::jit::Module;

constexpr std::int64_t kWords = 300, kWidth = 48, kOutputs = 20;

at::Tensor normal(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

/// Looks words up and sends them through a linear layer.
Model make_network() {
  initialise_runtime();
  Module net("__torch__.Net");
  net.register_parameter("table", normal({kWords, kWidth}, 1), false);
  net.register_parameter("weight", normal({kOutputs, kWidth}, 2), false);
  net.register_parameter("bias", normal({kOutputs}, 3), false);
  net.define(
      "def forward(self, words):\n"
      "  return torch.linear(torch.embedding(self.table, words), self.weight, self.bias)\n");
  net.eval();
  InputSpec words{{1, 5}};
  words.dtype = "int64";
  words.high = kWords;
  return Model::from_module(net, {words});
}

PassResult quantize(Model& model, Json options, const DataSets* data = nullptr) {
  options["mode"] = "weight_only";
  if (!options.contains("smallest_size")) options["smallest_size"] = 1;
  const PassSpec spec = find_pass("quantize_int8");
  Progress silent;
  PassContext context{silent};
  context.data = data;
  return spec.make(spec.description.options.resolve(options, ""))->run(model, context);
}

at::Tensor words_like(const std::vector<std::int64_t>& shape) {
  return at::randint(0, kWords, shape, at::detail::createCPUGenerator(4), at::kLong);
}

/// Half a step of each group of columns: (max - min) / 15, or max|w| / 127.
at::Tensor half_steps(const at::Tensor& weight, std::int64_t bits, std::int64_t group) {
  const at::Tensor groups = weight.reshape({weight.size(0), -1, group});
  const at::Tensor step = bits == 8
                              ? groups.abs().amax(2) / 127
                              : (groups.amax(2).clamp_min(0) - groups.amin(2).clamp_max(0)) / 15;
  return step.repeat_interleave(group, 1) / 2;
}

struct Form {
  std::int64_t bits, group_size;
};

class WeightOnly : public ::testing::TestWithParam<Form> {};

TEST_P(WeightOnly, StaysWithinTheBoundOfItsSteps) {
  const auto [bits, group_size] = GetParam();
  const std::int64_t group = group_size == 0 ? kWidth : group_size;
  Model model = make_network();
  const at::Tensor table = model.tensor("table").detach().clone();
  const at::Tensor weight = model.tensor("weight").detach().clone();
  const Model original = model.clone();
  const PassResult result = quantize(model, {{"bits", bits}, {"group_size", group_size}});
  EXPECT_EQ(result.counts.at("layers_int8"), 2);
  EXPECT_EQ(model.named_parameters().size(), 1U);  // the bias

  const at::Tensor words = words_like({3, 7});
  const at::Tensor x = table.index_select(0, words.flatten());
  const at::Tensor x_off = half_steps(table, bits, group).index_select(0, words.flatten());
  // A scale in half precision is off by up to 2^-11, a zero point by half a step.
  const double slack = bits == 8 ? 1.2 : 2.2;
  const at::Tensor bound =
      slack * (at::matmul(x_off, weight.abs().t()) +
               at::matmul(x.abs() + x_off, half_steps(weight, bits, group).t()));
  const at::Tensor expected = original.forward({words})[0], found = model.forward({words})[0];
  EXPECT_EQ(found.sizes(), at::IntArrayRef({3, 7, kOutputs}));
  const at::Tensor error = (found - expected).abs().reshape({-1, kOutputs});
  EXPECT_LT((error / bound).max().item<double>(), 1);
  EXPECT_GT(error.max().item<double>(), 0);
}

INSTANTIATE_TEST_SUITE_P(Forms, WeightOnly,
                         ::testing::Values(Form{8, 16}, Form{8, 0}, Form{4, 16}, Form{4, 0}),
                         [](const auto& test) {
                           return std::to_string(test.param.bits) + "_bits_" +
                                  std::to_string(test.param.group_size);
                         });

TEST(QuantizeInt8WeightOnly, TellsTheBytesThatItStores) {
  Model model = make_network();
  const PassResult result = quantize(model, {{"bits", 4}, {"group_size", 16}});
  constexpr std::int64_t kNumbers = (kWords + kOutputs) * kWidth;
  EXPECT_EQ(result.counts.at("weight_bytes_before"), 4 * kNumbers);
  // Half a byte a number; a scale of two bytes and a zero point of one for every 16.
  EXPECT_EQ(result.counts.at("weight_bytes_after"), kNumbers / 2 + 3 * kNumbers / 16);
}

TEST(QuantizeInt8WeightOnly, LeavesSmallAndExcludedWeightsFloat) {
  Model large = make_network(), accepted = make_network();
  quantize(large, {{"smallest_size", 2000}});
  EXPECT_TRUE(large.has_attribute("weight"));
  EXPECT_FALSE(large.has_attribute("table"));
  const PassResult result = quantize(accepted, {{"exclude", {"^table$"}}});
  EXPECT_FALSE(accepted.has_attribute("weight"));
  EXPECT_TRUE(accepted.has_attribute("table"));
  EXPECT_EQ(result.details.at("layers").at(0).at("reason"), "the recipe excludes it");
}

TEST(QuantizeInt8WeightOnly, RoundsByGptqOnCalibrationData) {
  const at::Tensor words = words_like({200, 5});
  DataSets data;
  data.calibration = std::make_shared<TensorDataset>(std::vector<at::Tensor>{words});
  const Model original = make_network();
  // Inputs that hang together: there are 48 columns, but only 6 directions.
  const at::Tensor table = at::matmul(normal({kWords, 6}, 8), normal({6, kWidth}, 9));
  const auto error = [&](const std::string& rounding) {
    Model base = original.clone(), model = original.clone();
    base.set_tensor("table", table);
    model.set_tensor("table", table);
    quantize(model, {{"bits", 4}, {"include", {"^weight$"}}, {"rounding", rounding}}, &data);
    const at::Tensor expected = base.forward({words})[0];
    return (model.forward({words})[0] - expected).square().sum().item<double>();
  };
  EXPECT_LT(error("gptq"), 0.3 * error("nearest"));
}

TEST(QuantizeInt8WeightOnly, RunsInStockPyTorch) {
  const testing::TemporaryFolder folder;
  Model model = make_network();
  quantize(model, {{"bits", 4}});
  const auto file = folder.path() / "model.pt";
  model.save(file);
  const std::string command = "/usr/bin/python3 -c \"import torch; m = torch.jit.load('" +
                              file.string() +
                              "'); print(m(torch.arange(6).reshape(2, 3)).double().sum().item())\"";
  FILE* process = popen((command + " 2>/dev/null").c_str(), "r");
  ASSERT_NE(process, nullptr);
  char line[64] = "";
  const bool has_answer = std::fgets(line, sizeof(line), process) != nullptr;
  const int status = pclose(process);
  if (!has_answer && status != 0 && std::system("/usr/bin/python3 -c 'import torch' 2>/dev/null"))
    GTEST_SKIP() << "stock PyTorch is not installed";
  ASSERT_TRUE(has_answer);
  const double expected =
      model.forward({at::arange(6).reshape({2, 3})})[0].to(at::kDouble).sum().item<double>();
  EXPECT_NEAR(std::stod(line), expected, 1e-3);
}

TEST(QuantizeInt8WeightOnly, RefusesOtherBitsAndAdaRound) {
  Model model = make_network();
  testing::expect_error(ExitCode::kRecipe, "4 or 8", [&] { quantize(model, {{"bits", 5}}); });
  testing::expect_error(ExitCode::kRecipe, "adaround", [&] {
    quantize(model, {{"rounding", "adaround"}});
  });
}

}  // namespace
}  // namespace edgecompress
