#include "int8/int8_rewrite.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/testing/file_check.h>

#include "data/tensor_dataset.h"
#include "model/runtime.h"
#include "support/int8_schemes.h"

namespace edgecompress {
namespace {

using torch::jit::Module;
using torch::jit::testing::FileCheck;

at::Tensor drawn(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

struct Rewritten {
  Model original, model;
  Int8Scheme scheme;  ///< of the original
  at::Tensor input;

  at::Tensor error() const {
    return (model.forward({input})[0] - original.forward({input})[0]).abs();
  }
};

Rewritten rewrite(const Module& net, const at::Tensor& input) {
  initialise_runtime();
  Model original = Model::from_module(net, {{input.sizes().vec()}});
  Int8Scheme scheme = testing::make_int8_scheme(
      original, std::make_shared<TensorDataset>(std::vector<at::Tensor>{input}));
  share_ranges_with_concatenations(scheme);
  Model model = original.clone();
  rewrite_static_int8(model, scheme.on(model));
  return {std::move(original), std::move(model), std::move(scheme), input};
}

/// Depthwise, of ones: changes nothing, and INT8 holds it exactly.
Module network(std::int64_t channels, const std::string& forward) {
  Module net("__torch__.Net");
  net.register_parameter("one", at::ones({channels, 1, 1, 1}), false);
  net.define(
      "def same(self, x):\n  return torch.conv2d(x, self.one, None, [1, 1], [0, 0], [1, 1], " +
      std::to_string(channels) + ")\n");
  net.define("def forward(self, x):\n" + forward);
  net.eval();
  return net;
}

double range_of(const at::Tensor& tensor) {
  return tensor.max().item<double>() - tensor.min().item<double>();
}

TEST(Int8Rewrite, ConvertsLargeTensorsByVectorisedKernels) {
  const auto r = rewrite(network(4, "  return self.same(x)\n"), drawn({2, 4, 40, 40}, 1));
  FileCheck()
      .check("aten::_make_per_tensor_quantized_tensor")
      ->check("aten::int_repr")
      ->check_not("aten::dequantize")
      ->run(r.model.graph());
  EXPECT_LE(r.error().max().item<double>(), range_of(r.input) / 255 / 2 * 1.001);
  // The same steps as LibTorch's own kernels give, saturation included, but for halves.
  const at::Tensor wide = at::linspace(-9, 9, 6400).reshape({1, 4, 40, 40});
  const QuantizedRange range = r.scheme.ranges.at(r.original.graph().inputs()[1]);
  const at::Tensor expected =
      at::quantize_per_tensor(wide, range.scale, range.zero_point, at::kQUInt8).dequantize();
  EXPECT_TRUE(r.model.forward({wide})[0].equal(expected));
}

TEST(Int8Rewrite, GivesExactZerosForZeros) {
  const auto r = rewrite(network(4, "  return self.same(x)\n"), drawn({2, 4, 40, 40}, 1));
  EXPECT_EQ(r.model.forward({at::zeros({1, 4, 40, 40})})[0].abs().max().item<float>(), 0);
}

/// |(a + da)(b + db) - a b| <= |a| db + |b| da + da db, and then half a step of the product.
TEST(Int8Rewrite, StretchesFactorsOfChannels) {
  const auto r =
      rewrite(network(6,
                      "  x = self.same(x)\n"
                      "  s = torch.sigmoid(self.same(torch.adaptive_avg_pool2d(x, [1, 1])))\n"
                      "  return self.same(x * s)\n"),
              drawn({3, 6, 9, 9}, 2));
  FileCheck()
      .check("quantized::sigmoid")
      ->check("aten::expand_as")
      ->check("quantized::mul")
      ->check_count("aten::dequantize", 1, /*exactly=*/true)
      ->run(r.model.graph());
  const double step = range_of(r.input) / 255, largest = r.input.abs().max().item<double>();
  const double factor_error = 0.25 * (step / 2 + 2 * step / 2) + 1.0 / 255 / 2;
  EXPECT_LE(r.error().max().item<double>(), largest * factor_error + step / 2 + step);
}

TEST(Int8Rewrite, ConcatenatesWithoutRoundingAgain) {
  const auto r = rewrite(network(3,
                                 "  a = self.same(x)\n"
                                 "  b = torch.max_pool2d(self.same(x * 3.0), [1, 1])\n"
                                 "  c = torch.cat([a, b], 1)\n"
                                 "  return torch.mean(c, [1], True)\n"),
                         drawn({3, 3, 5, 5}, 4));
  const Int8Op& cat = *std::find_if(r.scheme.plan.ops.begin(), r.scheme.plan.ops.end(),
                                    [](const Int8Op& op) { return op.form == Int8Form::kCat; });
  const double step = r.scheme.ranges.at(cat.output()).scale;
  for (torch::jit::Value* operand : cat.operands())
    EXPECT_EQ(r.scheme.range_of(operand)->scale, step);
  const double input_step = range_of(r.input) / 255;
  EXPECT_LE(r.error().max().item<double>(), (input_step + 3 * input_step) / 2 + step / 2 + step);
}

TEST(Int8Rewrite, LeavesTheRangeOfAClampToItself) {
  const auto r = rewrite(network(3,
                                 "  a = torch.relu(self.same(x))\n"
                                 "  c = torch.cat([a, self.same(x * 2.0)], 1)\n"
                                 "  return torch.mean(c, [1], True)\n"),
                         drawn({3, 3, 5, 5}, 4));
  EXPECT_EQ(r.scheme.range_of(r.scheme.plan.ops[0].output())->zero_point, 0);
}

TEST(Int8Rewrite, ComputesLargeLinearLayersOverPixels) {
  for (const std::vector<std::int64_t>& rows : {std::vector<std::int64_t>{5, 256}, {3, 7, 256}}) {
    Module net("__torch__.Net");
    const at::Tensor weight = drawn({260, 256}, 5);
    net.register_parameter("weight", weight, false);
    net.register_parameter("bias", drawn({260}, 6), false);
    net.define(
        "def forward(self, x):\n  return torch.relu(torch.linear(x, self.weight, self.bias))\n");
    const auto r = rewrite(net, drawn(rows, 7));
    FileCheck().check("quantized::conv2d_relu")->run(r.model.graph());
    const double input_step = range_of(r.input) / 255;
    const at::Tensor weight_step = weight.abs().amax(1) / kReducedWeightRange;
    const at::Tensor bound =
        (weight.abs() * input_step / 2).sum(1) +
        (r.input.abs() + input_step / 2).sum(-1, /*keepdim=*/true) * weight_step / 2 +
        r.scheme.ranges.at(r.scheme.plan.ops[0].output()).scale * 0.51;
    EXPECT_LE((r.error() / bound).max().item<double>(), 1);
    const at::Tensor other = drawn({2, 4, 256}, 8).narrow(1, 0, 3);
    if (rows.size() == 2) continue;
    const std::vector<std::int64_t> expected{2, 3, 260};
    EXPECT_EQ(r.model.forward({other})[0].sizes(), expected);
  }
}

}  // namespace
}  // namespace edgecompress
