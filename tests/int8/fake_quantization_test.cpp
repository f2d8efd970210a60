#include "int8/fake_quantization.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/testing/file_check.h>

#include <algorithm>
#include <set>

#include "data/tensor_dataset.h"
#include "int8/int8_rewrite.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "support/int8_schemes.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using torch::jit::Module;
using torch::jit::Node;
using torch::jit::testing::FileCheck;

at::Tensor normal(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

/// A network with every op that INT8 graphs hold between layers.
Module network_of_many_ops() {
  Module net("__torch__.Net");
  net.register_parameter("conv", normal({8, 3, 3, 3}, 1) * 0.3, false);
  net.register_parameter("bias", normal({8}, 2) * 0.1, false);
  net.register_parameter("squeeze", normal({8, 8, 1, 1}, 3), false);
  net.register_parameter("wide", normal({8, 8, 1, 1}, 4) * 0.3, false);
  net.register_parameter("head", normal({5, 16}, 5) * 0.3, false);
  net.define(
      "def forward(self, x):\n"
      "  x = torch.hardtanh(torch.conv2d(x, self.conv, self.bias, [1, 1], [1, 1]), 0.0, 6.0)\n"
      "  s = torch.conv2d(torch.adaptive_avg_pool2d(x, [1, 1]), self.squeeze)\n"
      "  y = torch.mul(torch.avg_pool2d(x, [3, 3], [1, 1], [1, 1]), torch.hardsigmoid(s))\n"
      "  y = torch.relu(torch.add(y, torch.max_pool2d(x, [3, 3], [1, 1], [1, 1])))\n"
      "  z = torch.hardswish(torch.conv2d(y, self.wide))\n"
      "  z = torch.leaky_relu(torch.cat([z, torch.conv2d(x, self.wide)], 1), 0.1)\n"
      "  z = torch.upsample_bilinear2d(z, [11, 11], False)\n"
      "  z = torch.hardtanh(torch.constant_pad_nd(z, [1, 1, 1, 1], 0), -0.51, 0.77)\n"
      "  z = torch.elu(torch.sigmoid(torch.tanh(z)))\n"
      "  return torch.linear(torch.mean(z, [2, 3]), self.head)\n");
  net.eval();
  return net;
}

/// Whether an INT8 op computes values, rather than move some.
bool is_computed(const Node* node) {
  static const std::set<std::string> ops = {"aten::quantize_per_tensor",
                                            "aten::_make_per_tensor_quantized_tensor",
                                            "aten::avg_pool2d",
                                            "aten::adaptive_avg_pool2d",
                                            "aten::mean",
                                            "aten::hardtanh",
                                            "aten::upsample_bilinear2d",
                                            "aten::hardsigmoid"};
  return ops.count(op_of(node)) > 0 || op_of(node).rfind("quantized::", 0) == 0;
}

/// Every INT8 value that the graph computes, in order.
std::vector<at::Tensor> int8_values(const Model& model, const std::vector<at::Tensor>& inputs) {
  std::vector<at::Tensor> values;
  Interpreter(model).run(
      {inputs.begin(), inputs.end()},
      [&](const Node& node, c10::ArrayRef<c10::IValue>, c10::ArrayRef<c10::IValue> outputs) {
        for (const c10::IValue& output : outputs) {
          if (output.isTensor() && output.toTensor().is_quantized() && is_computed(&node))
            values.push_back(output.toTensor());
        }
      });
  return values;
}

struct Agreement {
  std::size_t ops = 0;
  double largest = 0;  ///< difference, in steps
  double equal = 0;    ///< mean over ops of the share of equal values
};

/// Every rounding of the simulation against the INT8 op that it stands for, both given what the
/// INT8 graph holds.
Agreement compare_op_by_op(const Model& real, const Model& simulated,
                           const std::vector<at::Tensor>& inputs) {
  const std::vector<at::Tensor> expected = int8_values(real, inputs);
  Agreement agreement;
  const auto stand_in = [&](const Node& node,
                            c10::ArrayRef<c10::IValue> given) -> std::optional<c10::IValue> {
    if (op_of(&node) != "aten::fake_quantize_per_tensor_affine") return std::nullopt;
    const at::Tensor rounded = at::fake_quantize_per_tensor_affine(
        given[0].toTensor(), given[1].toDouble(), given[2].toInt(), given[3].toInt(), 255);
    const at::Tensor& from_kernel = expected.at(agreement.ops++);
    EXPECT_NEAR(from_kernel.q_scale(), given[1].toDouble(), 1e-7);
    EXPECT_EQ(from_kernel.q_zero_point(), given[2].toInt());
    const at::Tensor dequantized = from_kernel.dequantize().reshape_as(rounded);
    const at::Tensor steps = ((dequantized - rounded) / given[1].toDouble()).round().abs();
    agreement.largest = std::max(agreement.largest, steps.max().item<double>());
    agreement.equal += steps.eq(0).to(at::kDouble).mean().item<double>();
    return dequantized;
  };
  Interpreter(simulated).run({inputs.begin(), inputs.end()}, {}, stand_in);
  EXPECT_EQ(agreement.ops, expected.size());
  agreement.equal /= static_cast<double>(agreement.ops);
  return agreement;
}

struct Int8AndSimulation {
  Model real, simulated;
};

Int8AndSimulation make_both(Model model, std::shared_ptr<const Dataset> data) {
  const Int8Scheme scheme = testing::make_int8_scheme(model, std::move(data));
  Int8AndSimulation both{model.clone(), model.clone()};
  rewrite_static_int8(both.real, scheme.on(both.real));
  simulate_int8(both.simulated, scheme.on(both.simulated));
  return both;
}

Int8AndSimulation make_both(const std::string& name) {
  const auto tiny = testing::make_tiny_model(name);
  return make_both(Model::from_module(tiny.module, tiny.inputs),
                   testing::make_tiny_data(tiny, 32, 2));
}

TEST(FakeQuantization, GivesWhatEachInt8KernelGivesToWithinOneStep) {
  for (const std::string& name : testing::tiny_model_names()) {
    const Int8AndSimulation both = make_both(name);
    const Agreement agreement =
        compare_op_by_op(both.real, both.simulated, both.real.example_inputs(16, 4));
    EXPECT_LE(agreement.largest, 1) << name;
    EXPECT_GE(agreement.equal, 0.95) << name;
  }
}

TEST(FakeQuantization, FollowsEveryOpBetweenLayersToWithinOneStep) {
  const at::Tensor input = normal({16, 3, 7, 7}, 6) * 2;
  const Int8AndSimulation both =
      make_both(Model::from_module(network_of_many_ops(), {{{1, 3, 7, 7}}}),
                std::make_shared<TensorDataset>(std::vector<at::Tensor>{input}));
  FileCheck().check_count("aten::dequantize", 1, /*exactly=*/true)->run(both.real.graph());
  const Agreement agreement = compare_op_by_op(both.real, both.simulated, {input});
  EXPECT_GT(agreement.ops, 15U);
  EXPECT_LE(agreement.largest, 1);
  EXPECT_GE(agreement.equal, 0.95);
}

/// An op's one step passes through the layers after it: no bound but what was found, in steps of
/// the output.
TEST(FakeQuantization, GivesTheOutputsOfTheInt8Network) {
  for (const std::string& name : testing::tiny_model_names()) {
    const Int8AndSimulation both = make_both(name);
    const auto inputs = both.real.example_inputs(64, 5);
    const at::Tensor real = both.real.forward(inputs)[0];
    const at::Tensor simulated = both.simulated.forward(inputs)[0];
    const at::Tensor last = int8_values(both.real, inputs).back();
    EXPECT_LE((real - simulated).abs().max().item<double>(), 3.01 * last.q_scale()) << name;
    EXPECT_LE((real - simulated).abs().mean().item<double>(), last.q_scale()) << name;
  }
}

TEST(FakeQuantization, LeavesFusedClampsToTheRange) {
  const Int8AndSimulation both = make_both("residual_cnn");
  FileCheck()
      .check_not("aten::relu")
      ->check_count("aten::fake_quantize_per_tensor_affine", 10, /*exactly=*/true)
      ->run(both.simulated.graph());
}

TEST(FakeQuantization, StoresWeightsInInt8AndNoFloatOnes) {
  const Int8AndSimulation both = make_both("cnn");
  EXPECT_TRUE(both.simulated.named_parameters().empty());
  std::int64_t int8 = 0;
  for (const auto& attribute : both.simulated.module().named_attributes()) {
    if (!attribute.value.isTensor()) continue;
    const at::Tensor tensor = attribute.value.toTensor();
    if (tensor.scalar_type() == at::kChar)
      ++int8;
    else
      EXPECT_LE(tensor.numel(), 32) << attribute.name;  // scales and biases
  }
  EXPECT_GT(int8, 0);
}

}  // namespace
}  // namespace edgecompress
