#include "int8/int8_engine.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <sstream>
#include <stdexcept>

#include "edgecompress/error.h"
#include "int8/quantized.h"

namespace edgecompress {
namespace {

TEST(UseInt8Engine, PacksWithEveryOneThatThereIs) {
  ASSERT_FALSE(int8_engines().empty());
  const Int8EngineGuard restored("auto");
  for (const std::string& name : int8_engines()) {
    use_int8_engine(name);
    EXPECT_EQ(int8_engine(), name);
  }
  use_int8_engine("auto");
  EXPECT_NE(int8_engine(), "none");
}

TEST(UseInt8Engine, SaysWhichThereAreWhereOneIsMissing) {
  const std::string before = int8_engine();
  try {
    use_int8_engine("abacus");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kRecipe);
    EXPECT_NE(std::string(error.what()).find("\"abacus\""), std::string::npos);
    for (const std::string& name : int8_engines())
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos);
  }
  EXPECT_EQ(int8_engine(), before);
}

TEST(Int8EngineGuard, RestoresWhateverHappens) {
  const std::string before = int8_engine();
  for (const std::string& name : int8_engines()) {
    try {
      const Int8EngineGuard guard(name);
      EXPECT_EQ(int8_engine(), name);
      throw std::runtime_error("packing failed");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(int8_engine(), before);
  }
}

TEST(ChooseWeightBits, KeepsBelowOverflowUnlessTheRecipeNamesAnEngineThatHasNone) {
  for (const bool has_dot_products : {true, false}) {
    for (const char* engine : {"auto", "onednn", "x86", "fbgemm"}) {
      EXPECT_EQ(choose_weight_bits({}, engine, has_dot_products).largest, kReducedWeightRange);
    }
    EXPECT_EQ(choose_weight_bits({}, "qnnpack", has_dot_products).largest, kFullWeightRange);
  }
}

TEST(ChooseWeightBits, LetsTheRecipeDecide) {
  for (const char* engine : {"auto", "qnnpack"}) {
    EXPECT_EQ(choose_weight_bits(true, engine, true).largest, kReducedWeightRange);
    EXPECT_EQ(choose_weight_bits(false, engine, true).largest, kFullWeightRange);
  }
}

TEST(ChooseWeightBits, WarnsOfThisCpuWhereItMayOverflow) {
  const auto warns = [](const char* engine, bool has_dot_products) {
    const WeightBits bits = choose_weight_bits(false, engine, has_dot_products);
    return bits.reason.find("no VNNI") != std::string::npos;
  };
  EXPECT_TRUE(warns("onednn", false));
  EXPECT_FALSE(warns("onednn", true));
  EXPECT_FALSE(warns("qnnpack", false));
}

/// A convolution and a linear layer, packed by the engine that is on.
torch::jit::Module packed_layers() {
  const auto generator = at::detail::createCPUGenerator(1);
  const WeightScheme weights{/*per_channel=*/true, kReducedWeightRange};
  const auto conv = pack_conv(quantize_weight(at::randn({8, 4, 3, 3}, generator), weights),
                              at::randn({8}, generator), {{1, 1}, {1, 1}, {1, 1}, 1});
  const auto linear = pack_linear(quantize_weight(at::randn({5, 144}, generator), weights),
                                  at::randn({5}, generator));
  torch::jit::Module layers("__torch__.Layers");
  layers.register_attribute("conv", conv.type(), conv);
  layers.register_attribute("linear", linear.type(), linear);
  layers.define("def forward(self, x):\n  return x\n");
  return layers;
}

/// What a layer gives for the input, in steps of its output.
at::Tensor run(const torch::jit::Module& layers, const std::string& name, const at::Tensor& input) {
  const bool is_conv = name == "conv";
  torch::jit::Stack stack = {at::quantize_per_tensor(input, 0.03, 128, at::kQUInt8),
                             layers.attr(name), is_conv ? 0.2 : 0.5, 128};
  c10::Dispatcher::singleton()
      .findSchemaOrThrow(is_conv ? "quantized::conv2d" : "quantized::linear", is_conv ? "new" : "")
      .callBoxed(stack);
  return stack.at(0).toTensor().int_repr().to(at::kInt);
}

TEST(Int8Engines, AgreeWithinAStepOnEachOthersFiles) {
  const at::Tensor image = at::randn({3, 4, 6, 6}, at::detail::createCPUGenerator(2));
  for (const std::string& writer : int8_engines()) {
    const Int8EngineGuard guard(writer);
    const torch::jit::Module written = packed_layers();
    std::stringstream file;
    written.save(file);
    for (const std::string& reader : int8_engines()) {
      use_int8_engine(reader);
      file.seekg(0);
      const torch::jit::Module read = torch::jit::load(file);
      for (const char* layer : {"conv", "linear"}) {
        const at::Tensor input = layer == std::string("conv") ? image : image.reshape({3, 144});
        const at::Tensor steps = (run(read, layer, input) - run(written, layer, input)).abs();
        EXPECT_LE(steps.max().item<int>(), reader == writer ? 0 : 1)
            << layer << ", " << writer << " to " << reader;
      }
    }
  }
}

}  // namespace
}  // namespace edgecompress
