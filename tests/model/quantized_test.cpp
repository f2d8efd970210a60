#include "model/quantized.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

TEST(ChooseRange, SpreadsTwoHundredFiftyFiveSteps) {
  const QuantizedRange range = choose_range(-1.0, 1.55);
  EXPECT_NEAR(range.scale, 0.01, 1e-8);
  EXPECT_EQ(range.zero_point, 100);
}

TEST(ChooseRange, AlwaysHoldsZero) {
  EXPECT_EQ(choose_range(0.5, 2.55).zero_point, 0);
  EXPECT_NEAR(choose_range(0.5, 2.55).scale, 0.01, 1e-8);
  EXPECT_EQ(choose_range(-2.55, -1.0).zero_point, 255);
}

TEST(ChooseRange, TakesAnEmptyRange) {
  EXPECT_EQ(choose_range(0, 0).scale, 1.0);
  EXPECT_EQ(choose_range(0, 0).zero_point, 0);
  EXPECT_EQ(choose_range(0, 1e-44).scale, 1.0) << "kernels would divide by a denormal";
}

TEST(ChooseSymmetricRange, HoldsBothEndsExactly) {
  const QuantizedRange range = choose_symmetric_range(1.27);
  EXPECT_NEAR(range.scale, 0.01, 1e-8);
  EXPECT_EQ(range.zero_point, 128);
  EXPECT_EQ(choose_symmetric_range(0).scale, 1.0);
}

TEST(QuantizeWeight, GivesEachOutputChannelItsScale) {
  const QuantizedWeight weight =
      quantize_weight(at::tensor({0.5, -1.27, 0.02, 0.0127}).reshape({2, 2}), {});
  EXPECT_TRUE(weight.values.equal(at::tensor({50, -127, 127, 81}, at::kChar).reshape({2, 2})));
  EXPECT_NEAR(weight.scales[0].item<double>(), 0.01, 1e-8);
  EXPECT_NEAR(weight.scales[1].item<double>(), 0.02 / 127, 1e-10);
}

TEST(QuantizeWeight, GivesAMatrixOneScaleOnRequest) {
  const QuantizedWeight weight =
      quantize_weight(at::tensor({0.5, -1.27, 0.02, 0.0127}).reshape({2, 2}), {false});
  EXPECT_TRUE(weight.values.equal(at::tensor({50, -127, 2, 1}, at::kChar).reshape({2, 2})));
  EXPECT_EQ(weight.scales.numel(), 1);
}

TEST(QuantizeWeight, StaysWithinTheReducedRange) {
  const QuantizedWeight weight =
      quantize_weight(at::tensor({0.64, -0.1}).reshape({1, 2}), {true, kReducedWeightRange});
  EXPECT_TRUE(weight.values.equal(at::tensor({64, -10}, at::kChar).reshape({1, 2})));
}

TEST(QuantizeWeight, TakesAChannelOfZeros) {
  const QuantizedWeight weight = quantize_weight(at::zeros({3, 2, 1, 1}), {});
  EXPECT_TRUE(weight.scales.equal(at::ones({3}, at::kDouble)));
  EXPECT_TRUE(weight.values.equal(at::zeros({3, 2, 1, 1}, at::kChar)));
}

TEST(QuantizeWeight, CountsChannelsAlongTheAxis) {
  const at::Tensor weight = at::randn({4, 3, 2, 2});
  const QuantizedWeight by_column = quantize_weight(weight, {}, 1);
  const QuantizedWeight by_row = quantize_weight(weight.transpose(0, 1), {});
  EXPECT_TRUE(by_column.values.equal(by_row.values.transpose(0, 1)));
  EXPECT_TRUE(by_column.scales.equal(by_row.scales));
}

/// The oracle: magnitudes on a fine grid, really rounded and clipped.
TEST(QuantizeWeight, ClipsForTheLeastSquaredErrorOnRequest) {
  const auto generator = at::detail::createCPUGenerator(1);
  const at::Tensor plain = at::randn({4, 600}, generator);
  const at::Tensor heavy_tailed = plain.pow(3);
  for (const at::Tensor& weight : {plain, heavy_tailed, heavy_tailed.transpose(0, 1)}) {
    const std::int64_t axis = weight.size(0) == 4 ? 0 : 1;
    for (const std::int64_t largest : {kFullWeightRange, kReducedWeightRange}) {
      for (const bool per_channel : {true, false}) {
        const QuantizedWeight clipped =
            quantize_weight(weight, {per_channel, largest, /*clips=*/true}, axis);
        const at::Tensor rows = per_channel ? weight.transpose(0, axis) : weight.reshape({1, -1});
        const at::Tensor found = (dequantize(clipped) - weight).pow(2);
        const at::Tensor errors = per_channel ? found.transpose(0, axis).sum(1) : found.sum();
        for (std::int64_t i = 0; i < rows.size(0); ++i) {
          double least = std::numeric_limits<double>::infinity();
          for (int part = 50; part <= 500; ++part) {
            const at::Tensor scale = rows[i].abs().max() * part / 500 / largest;
            const at::Tensor rounded = (rows[i] / scale).round().clamp(-largest, largest) * scale;
            least = std::min(least, (rounded - rows[i]).pow(2).sum().item<double>());
          }
          EXPECT_LT(errors.reshape({-1})[i].item<double>(), 1.1 * least);
        }
      }
    }
  }
}

TEST(QuantizeWeight, ClipsNothingWhereThatGainsNothing) {
  const at::Tensor even = at::linspace(-1, 1, 255).reshape({1, 255});
  EXPECT_TRUE(quantize_weight(even, {true, 127, /*clips=*/true})
                  .scales.equal(quantize_weight(even, {}).scales));
  EXPECT_TRUE(quantize_weight(at::zeros({2, 3}), {true, 127, /*clips=*/true})
                  .scales.equal(at::ones({2}, at::kDouble)));
}

TEST(QuantizeWeight, RefusesValuesThatAreNotFinite) {
  try {
    quantize_weight(at::tensor({1.0, std::nan("")}), {false});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
  }
}

TEST(Dequantize, IsWithinHalfAStep) {
  const at::Tensor weight = at::randn({8, 4, 3, 3});
  const QuantizedWeight quantized = quantize_weight(weight, {});
  const at::Tensor error = (dequantize(quantized) - weight).abs().reshape({8, -1}).amax(1);
  EXPECT_TRUE((error <= quantized.scales * 0.500001).all().item<bool>());
}

TEST(PackConv, SaysWhatTheEngineRefused) {
  const QuantizedWeight weight = quantize_weight(at::ones({4, 2, 3, 3}), {});
  try {
    pack_conv(weight, {}, {{1, 1, 1}, {0, 0, 0}, {1, 1, 1}, 1});
    FAIL() << "three strides for two dimensions";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kPass);
    EXPECT_NE(std::string(error.what()).find("conv2d_prepack"), std::string::npos);
  }
}

}  // namespace
}  // namespace edgecompress
