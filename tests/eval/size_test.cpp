#include "eval/size.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <torch/csrc/jit/api/module.h>

#include <filesystem>

#include "edgecompress/error.h"
#include "int8/quantized.h"
#include "model/model.h"
#include "model/runtime.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

class SizeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    initialise_runtime();
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// Written and read again: what is measured is what is stored.
  Size size_of(const torch::jit::Module& module) {
    const auto path = folder_ / "model.pt";
    module.save(path.string());
    return measure_size(path, load_as_stored(path));
  }

  torch::jit::Module linear(const at::Tensor& weight) {
    torch::jit::Module module("net");
    module.register_parameter("weight", weight, false);
    module.define("def forward(self, x):\n  return torch.linear(x, self.weight)\n");
    return module;
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / "edgecompress_size_test";
};

TEST_F(SizeTest, CountsParametersAndNonzeroOnes) {
  at::Tensor weight = at::ones({4, 8});
  weight[0].zero_();
  const Size size = size_of(linear(weight));
  EXPECT_EQ(size.parameters, 32);
  EXPECT_EQ(size.nonzero_parameters, 24);
  EXPECT_EQ(size.weight_bytes, 32 * 4);
}

TEST_F(SizeTest, HalfPrecisionWeightsTakeTwoBytes) {
  const Size size = size_of(linear(at::ones({4, 8}, at::kHalf)));
  EXPECT_EQ(size.parameters, 32);
  EXPECT_EQ(size.weight_bytes, 32 * 2);
}

TEST_F(SizeTest, FileBytesAreThoseOnDiskAndRandomWeightsDoNotDeflate) {
  const Size size = size_of(linear(at::randn({256, 256})));
  EXPECT_EQ(size.file_bytes,
            static_cast<std::int64_t>(std::filesystem::file_size(folder_ / "model.pt")));
  EXPECT_GT(size.file_bytes, 256 * 256 * 4);
  EXPECT_GT(size.zipped_bytes, 256 * 256 * 3);
  EXPECT_LT(size.zipped_bytes, size.file_bytes);
}

TEST_F(SizeTest, AMaskShrinksTheZippedFileButNotTheParameters) {
  const at::Tensor weight = at::randn({256, 256});
  const Size dense = size_of(linear(weight));
  const Size masked = size_of(linear(weight * (weight.abs() > 1)));
  EXPECT_EQ(masked.parameters, dense.parameters);
  EXPECT_EQ(masked.weight_bytes, dense.weight_bytes);
  EXPECT_LT(masked.nonzero_parameters, dense.nonzero_parameters);
  EXPECT_LT(masked.zipped_bytes, dense.zipped_bytes);
}

TEST_F(SizeTest, CountsSubmodulesAndTiedWeightsOnce) {
  const at::Tensor weight = at::ones({3, 3});
  torch::jit::Module module("net");
  module.register_module("first", linear(weight));
  module.register_module("second", linear(weight));
  module.define("def forward(self, x):\n  return self.second.forward(self.first.forward(x))\n");
  EXPECT_EQ(size_of(module).parameters, 9);
}

TEST_F(SizeTest, LeavesBuffersOutAndTakesPlainTensorAttributes) {
  torch::jit::Module module = linear(at::ones({2, 2}));
  module.register_buffer("running_mean", at::ones({100}));
  module.register_attribute("adapter", c10::TensorType::get(), at::ones({5}));
  module.register_attribute("tables", c10::ListType::ofTensors(),
                            c10::List<at::Tensor>({at::ones({7}), at::ones({7}, at::kLong)}));
  EXPECT_EQ(size_of(module).parameters, 4 + 5 + 7);
}

TEST_F(SizeTest, CountsWeightsThatFreezingMadeConstants) {
  torch::jit::Module module = linear(at::ones({4, 8}));
  module.register_attribute("training", c10::BoolType::get(), false);
  EXPECT_EQ(size_of(torch::jit::freeze(module)).parameters, 32);
}

TEST_F(SizeTest, CountsPackedInt8WeightsAtOneByte) {
  torch::jit::Module module("net");
  const auto add = [&](const std::string& name, const c10::IValue& packed) {
    module.register_attribute(name, packed.type(), packed);
  };
  const at::Tensor conv = at::ones({8, 4, 3, 3});
  add("conv", pack_conv(quantize_weight(conv, {}), at::ones({8}), {{1, 1}, {0, 0}, {1, 1}, 1}));
  add("linear", pack_linear(quantize_weight(at::zeros({8, 16}), {}), {}));
  module.define("def forward(self, x):\n  return x\n");
  const Size size = size_of(module);
  EXPECT_EQ(size.parameters, 8 * 4 * 9 + 8 + 8 * 16);
  EXPECT_EQ(size.nonzero_parameters, 8 * 4 * 9 + 8);
  EXPECT_EQ(size.weight_bytes, 8 * 4 * 9 + 8 * 4 + 8 * 16);
}

TEST_F(SizeTest, AgreesWithEveryTinyNetworkOnItsParameters) {
  for (const std::string& name : testing::tiny_model_names()) {
    const testing::TinyModel tiny = testing::make_tiny_model(name);
    std::int64_t expected = 0;
    for (const at::Tensor& parameter : tiny.module.parameters()) expected += parameter.numel();
    EXPECT_EQ(size_of(tiny.module).parameters, expected) << name;
  }
}

class PeakMemoryTest : public SizeTest {
 protected:
  void SetUp() override {
    SizeTest::SetUp();
    if (peak_memory_bytes() == 0 || !reset_peak_memory()) {
      GTEST_SKIP() << "this system does not report resident memory";
    }
  }
};

TEST_F(PeakMemoryTest, SeesMemoryThatIsNoLongerHeldUntilReset) {
  const std::int64_t before = peak_memory_bytes();
  at::ones({64 << 20}, at::kByte);
  const std::int64_t after = peak_memory_bytes();
  EXPECT_GE(after - before, std::int64_t{50} << 20);
  ASSERT_TRUE(reset_peak_memory());
  EXPECT_LT(peak_memory_bytes(), after);
}

TEST_F(PeakMemoryTest, OfAModelIsAtLeastItsWeights) {
  linear(at::ones({4096, 4096})).save((folder_ / "large.pt").string());
  const std::int64_t large =
      measure_peak_memory(folder_ / "large.pt", {{{1, 4096}, "float32", 2}}, 1);
  // The system counts pages in lots, so its figures are a little off.
  const double weight_bytes = 4096.0 * 4096 * 4;
  EXPECT_GE(static_cast<double>(large), 0.95 * weight_bytes);
  EXPECT_LT(static_cast<double>(large), 4 * weight_bytes);
}

TEST_F(PeakMemoryTest, RefusesInputsThatTheModelDoesNotTake) {
  linear(at::ones({4, 4})).save((folder_ / "small.pt").string());
  try {
    measure_peak_memory(folder_ / "small.pt", {{{1, 5}, "float32", 2}}, 1);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kModel);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("small.pt"));
  }
}

}  // namespace
}  // namespace edgecompress
