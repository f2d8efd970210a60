#include "int8/quantized.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "edgecompress/error.h"
#include "int8/int8_engine.h"
#include "util/random.h"

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

/// One random layer, its scales, and the arithmetic of float and INT8.
struct RandomLayer {
  std::int64_t rank;  // 0: linear
  ConvGeometry geometry;
  at::Tensor weight, bias, input;
  QuantizedWeight quantized_weight;
  QuantizedRange input_range, output_range;

  RandomLayer(std::uint64_t seed, std::int64_t largest) {
    Random random(seed);
    const auto generator = at::detail::createCPUGenerator(seed);
    rank = random.index(4);
    geometry.groups = rank == 0 ? 1 : 1 + random.index(3);
    const std::int64_t in = geometry.groups * (1 + random.index(5));
    const std::int64_t out = geometry.groups * (1 + random.index(4));
    std::vector<std::int64_t> weight_shape = {out, in / geometry.groups};
    std::vector<std::int64_t> input_shape = {1 + random.index(4), in};
    for (std::int64_t i = 0; i < rank; ++i) {
      weight_shape.push_back(1 + random.index(3));
      input_shape.push_back(5 + random.index(4));
      geometry.stride.push_back(1 + random.index(2));
      geometry.padding.push_back(random.index(2));
      geometry.dilation.push_back(1 + random.index(2));
    }
    weight = at::randn(weight_shape, generator) * std::pow(10, random.uniform(-3, 3));
    if (random.coin(0.3)) weight[0].zero_();
    if (random.coin(0.3)) weight.pow_(3);
    quantized_weight = quantize_weight(weight, {random.coin(), largest, /*clips=*/random.coin()});
    // Zero, ordinary, tiny or huge; of both signs, or one.
    const double sizes[] = {0, 1, 1e-20, 1e20};
    const double size = sizes[random.index(4)];
    input = (at::randn(input_shape, generator) + random.uniform(-2, 2)) * size;
    if (random.coin(0.3)) input = input.abs();
    if (random.coin(0.3)) input = strided(input);
    if (random.coin()) bias = at::randn({out}, generator) * size * weight.abs().max();
    input_range = range_for(input, random);
    output_range = range_for(run(input, weight, bias), random);
  }

  /// The same values with gaps between them in memory.
  static at::Tensor strided(const at::Tensor& values) {
    const at::Tensor doubled = at::stack({values, values}, -1);
    return doubled.select(-1, 1);
  }

  /// Of any scheme; not always all that there is.
  static QuantizedRange range_for(const at::Tensor& values, Random& random) {
    const double kept = random.coin() ? 1 : random.uniform(0.5, 1);
    const double low = values.min().item<double>() * kept,
                 high = values.max().item<double>() * kept;
    return random.coin() ? choose_range(low, high) : choose_symmetric_range(std::max(-low, high));
  }

  at::Tensor run(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const {
    const ConvGeometry& g = geometry;
    const at::Tensor y = x.to(at::kDouble), v = w.to(at::kDouble);
    const at::Tensor c = b.defined() ? b.to(at::kDouble) : b;
    if (rank == 0) return at::linear(y, v, c);
    if (rank == 1) return at::conv1d(y, v, c, g.stride, g.padding, g.dilation, g.groups);
    if (rank == 2) return at::conv2d(y, v, c, g.stride, g.padding, g.dilation, g.groups);
    return at::conv3d(y, v, c, g.stride, g.padding, g.dilation, g.groups);
  }

  at::Tensor run_int8(const at::Tensor& x) const {
    const c10::IValue packed = rank == 0 ? pack_linear(quantized_weight, bias)
                                         : pack_conv(quantized_weight, bias, geometry);
    const std::string op = rank == 0 ? "linear" : "conv" + std::to_string(rank) + "d";
    torch::jit::Stack stack = {
        at::quantize_per_tensor(x, input_range.scale, input_range.zero_point, at::kQUInt8), packed,
        output_range.scale, output_range.zero_point};
    // The overloads without a name take the geometry again.
    const char* overload = rank > 1 ? "new" : "";
    c10::Dispatcher::singleton()
        .findSchemaOrThrow(("quantized::" + op).c_str(), overload)
        .callBoxed(stack);
    return stack.at(0).toTensor().dequantize();
  }

  /// How far values lie outside what a range holds.
  static at::Tensor excess(const at::Tensor& values, const QuantizedRange& range) {
    const auto zero_point = static_cast<double>(range.zero_point);
    return (values - values.clamp(-zero_point * range.scale, (255 - zero_point) * range.scale))
        .abs();
  }

  /// Of quantized.h.
  at::Tensor bound() const {
    const at::Tensor input_error = input_range.scale / 2 + excess(input, input_range);
    const at::Tensor weight_error = (dequantize(quantized_weight) - weight).abs();
    at::Tensor bound = run(input_error, weight.abs(), {}) +
                       run(input.abs() + input_error, weight_error, {}) +
                       excess(run(input, weight, bias), output_range) + output_range.scale / 2;
    if (bias.defined())
      bound += quantized_weight.scales.max().item<double>() * input_range.scale / 2;
    return bound;
  }
};

TEST(Int8Layer, IsWithinTheBoundOfItsScalesOnEveryEngine) {
  for (const std::string& engine : int8_engines()) {
    const Int8EngineGuard guard(engine);
    const std::int64_t largest = choose_weight_bits({}, engine, false).largest;
    for (std::uint64_t seed = 1; seed <= 120; ++seed) {
      const RandomLayer layer(seed, largest);
      const at::Tensor expected = layer.run(layer.input, layer.weight, layer.bias);
      const at::Tensor error = (layer.run_int8(layer.input) - expected).abs();
      EXPECT_LE((error / layer.bound()).max().item<double>(), 1.02)
          << engine << ", seed " << seed << ", rank " << layer.rank;
    }
  }
}

TEST(Int8Layer, GivesAnEmptyBatchForAnEmptyBatch) {
  for (const std::string& engine : int8_engines()) {
    const Int8EngineGuard guard(engine);
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const RandomLayer layer(seed, kReducedWeightRange);
      const at::Tensor none = layer.input.slice(0, 0, 0);
      EXPECT_EQ(layer.run_int8(none).sizes(), layer.run(none, layer.weight, layer.bias).sizes())
          << engine << ", seed " << seed << ", rank " << layer.rank;
    }
  }
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
