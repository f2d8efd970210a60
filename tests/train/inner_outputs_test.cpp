#include "train/inner_outputs.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::expect_error;

Model tiny(const std::string& name) {
  const auto made = testing::make_tiny_model(name);
  return Model::from_module(made.module, made.inputs);
}

/// The values that the network gives with these names, channels second.
std::vector<at::Tensor> inner_of(Model& model, const std::vector<std::optional<std::string>>& names,
                                 const std::vector<at::Tensor>& inputs) {
  std::vector<InnerValue> values;
  for (const auto& name : names) values.push_back(find_inner_value(model, name, inputs, "test"));
  const InnerOutputs outputs(model, values);
  return outputs.of(model.forward(inputs));
}

/// Two convolutions in modules of one module, with a sum and an activation behind.
Model nested_network() {
  using torch::jit::Module;
  const auto conv = [] {
    Module layer("__torch__.Conv");
    layer.register_parameter("weight", at::randn({3, 3, 1, 1}), false);
    layer.define("def forward(self, x):\n  return torch.conv2d(x, self.weight)\n");
    return layer;
  };
  Module block("__torch__.Block");
  block.register_module("first", conv());
  block.register_module("second", conv());
  block.define(
      "def forward(self, x):\n"
      "  y = torch.relu(self.first.forward(x))\n"
      "  return torch.relu(self.second.forward(y) + x)\n");
  Module net("__torch__.Net");
  net.register_module("block", block);
  net.register_module("after", conv());
  net.define(
      "def forward(self, x):\n"
      "  x = self.block.forward(x)\n"
      "  return self.after.forward(x) + x\n");
  return Model::from_module(net, {{{1, 3, 4, 4}}});
}

TEST(InnerOutputs, OfALayerAreItsOutput) {
  Model model = tiny("cnn");
  const auto inputs = model.example_inputs(3);
  const at::Tensor expected =
      at::conv2d(inputs[0], model.tensor("conv1.weight"), model.tensor("conv1.bias"), 1, 1);
  EXPECT_TRUE(at::allclose(inner_of(model, {"conv1"}, inputs)[0], expected));
}

TEST(InnerOutputs, OfAModuleAreWhatLeavesIt) {
  Model model = nested_network();
  const auto inputs = model.example_inputs(2);
  const auto weight = [&](const char* name) { return model.tensor(name); };
  const at::Tensor y = at::relu(at::conv2d(inputs[0], weight("block.first.weight")));
  const at::Tensor expected = at::relu(at::conv2d(y, weight("block.second.weight")) + inputs[0]);
  EXPECT_TRUE(at::allclose(inner_of(model, {"block"}, inputs)[0], expected));
}

TEST(InnerOutputs, LastFeaturesAreWhatTheLastLayerReads) {
  Model model = tiny("residual_cnn");
  const auto inputs = model.example_inputs(2);
  const at::Tensor features = inner_of(model, {std::nullopt}, inputs)[0];
  const at::Tensor output =
      at::linear(features, model.tensor("fc.weight"), model.tensor("fc.bias"));
  EXPECT_TRUE(at::allclose(output, model.forward(inputs)[0]));
}

TEST(InnerOutputs, OfLinearLayersAreTurnedChannelsSecond) {
  Model model = tiny("transformer");
  const auto inputs = model.example_inputs(2);
  const InnerValue value = find_inner_value(model, "fc1", inputs, "test");
  EXPECT_EQ(value.sizes, (std::vector<std::int64_t>{2, 32, 7}));
  EXPECT_EQ(inner_of(model, {"fc1"}, inputs)[0].sizes(), (at::IntArrayRef{2, 32, 7}));
}

TEST(InnerOutputs, ComeBehindTheNetworksOwnAndGoWithTheObject) {
  Model model = tiny("cnn");
  const auto inputs = model.example_inputs(2);
  const at::Tensor before = model.forward(inputs)[0];
  const std::string graph = model.graph().toString();
  {
    const InnerOutputs outputs(model, {find_inner_value(model, "conv1", inputs, "test"),
                                       find_inner_value(model, "bn2", inputs, "test")});
    const auto all = model.forward(inputs);
    ASSERT_EQ(all.size(), 3U);
    EXPECT_TRUE(all[0].equal(before));
  }
  EXPECT_EQ(model.graph().toString(), graph);
  EXPECT_EQ(model.forward(inputs).size(), 1U);
}

TEST(InnerOutputs, LetGradientsThrough) {
  Model model = tiny("cnn");
  at::Tensor weight = model.tensor("conv1.weight").set_requires_grad(true);
  inner_of(model, {"conv1"}, model.example_inputs(2))[0].sum().backward();
  EXPECT_GT(weight.grad().abs().sum().item<double>(), 0);
}

TEST(InnerOutputs, NamesTheNearestLayer) {
  Model model = nested_network();
  const auto inputs = model.example_inputs(2);
  const auto find = [&](const char* name) {
    return [&model, &inputs, name] { find_inner_value(model, name, inputs, "features"); };
  };
  expect_error(ExitCode::kPass, "features: the network has no layer or module 'block.secnd'",
               find("block.secnd"), "block.second");
  expect_error(ExitCode::kPass, "'blok'", find("blok"), "\"block\"");
}

}  // namespace
}  // namespace edgecompress
