#include "train/adapters.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/passes/canonicalize.h>

#include "train/adapter_networks.h"

namespace edgecompress {
namespace {

using testing::AdapterCase;
using testing::output_of;
using testing::tiny;

/// The graph without the names of its values, which an edit may change.
std::string text_of(Model& model) {
  return torch::jit::Canonicalize(model.edit(), /*keep_unique_names=*/false)->toString();
}

class EveryAdapter : public ::testing::TestWithParam<AdapterCase> {};

TEST_P(EveryAdapter, ChangesNoOutputBeforeTraining) {
  Model model = testing::network_of(GetParam());
  const auto inputs = model.example_inputs(3);
  const at::Tensor before = output_of(model, inputs);
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, GetParam());
  EXPECT_GE(adapters.size(), 1U);
  const at::Tensor after = output_of(model, inputs);
  if (GetParam().is_pissa) {
    EXPECT_TRUE(at::allclose(after, before, 1e-5, 1e-5));
  } else {
    EXPECT_TRUE(after.equal(before));
  }
}

TEST_P(EveryAdapter, IsMergedExactly) {
  Model model = testing::network_of(GetParam());
  const auto inputs = model.example_inputs(3);
  const at::Tensor before = output_of(model, inputs);
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, GetParam());
  testing::train_a_little(model, adapters);
  const at::Tensor apart = output_of(model, inputs);
  adapters.merge();
  const at::Tensor merged = output_of(model, inputs);
  EXPECT_FALSE(at::allclose(apart, before, 1e-3, 1e-3));
  EXPECT_LT((merged - apart).abs().max().item<double>(),
            1e-5 * std::max(1.0, apart.abs().max().item<double>()));
}

TEST_P(EveryAdapter, LeavesGraphAndAttributesAsTheyWereAfterMerging) {
  Model model = testing::network_of(GetParam());
  const std::string graph = text_of(model);
  const auto parameters = model.named_parameters();
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, GetParam());
  adapters.merge();
  EXPECT_EQ(text_of(model), graph);
  ASSERT_EQ(model.named_parameters().size(), parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(model.named_parameters()[i].first, parameters[i].first);
  }
}

TEST_P(EveryAdapter, GoesWithoutTraceIfItIsNotMerged) {
  Model model = testing::network_of(GetParam());
  const std::string graph = text_of(model);
  const auto inputs = model.example_inputs(3);
  const at::Tensor before = output_of(model, inputs);
  {
    Adapters adapters(model, true);
    testing::add_adapters(adapters, model, GetParam());
    testing::train_a_little(model, adapters);
  }
  EXPECT_EQ(text_of(model), graph);
  EXPECT_TRUE(output_of(model, inputs).equal(before));
}

TEST_P(EveryAdapter, StaysInTheGraphOverUntouchedWeightsIfKept) {
  Model model = testing::network_of(GetParam());
  const Model base = testing::network_of(GetParam());
  const auto inputs = model.example_inputs(3);
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, GetParam());
  testing::train_a_little(model, adapters);
  const at::Tensor apart = output_of(model, inputs);
  adapters.keep();
  EXPECT_TRUE(at::allclose(output_of(model, inputs), apart, 1e-5, 1e-5));
  for (const auto& [name, parameter] : base.named_parameters()) {
    EXPECT_TRUE(model.tensor(name).equal(parameter)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryAdapter, ::testing::ValuesIn(testing::adapter_cases()),
                         [](const auto& test) { return test.param.name(); });

TEST(Adapters, AddTheScaledProductToTheWeight) {
  Model model = tiny("cnn");
  const at::Tensor before = model.tensor("conv2.weight").detach().clone();
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, {"cnn", {2, 6}});
  testing::train_a_little(model, adapters);
  const Adapter conv2 = adapters.current().at(1);
  ASSERT_EQ(conv2.module, "conv2");
  ASSERT_EQ(conv2.a.sizes(), (std::vector<std::int64_t>{2, 8, 3, 3}));
  ASSERT_EQ(conv2.b.sizes(), (std::vector<std::int64_t>{16, 2, 1, 1}));
  adapters.merge();
  // PEFT runs a convolution's adapter beside the layer: conv(conv(x, A), B) * alpha / r.
  const at::Tensor x = at::randn({2, 8, 6, 6});
  const at::Tensor beside = at::conv2d(x, before) + 3 * at::conv2d(at::conv2d(x, conv2.a), conv2.b);
  EXPECT_TRUE(at::allclose(at::conv2d(x, model.tensor("conv2.weight")), beside, 1e-4, 1e-4));
}

TEST(Adapters, OfLinearLayersLeaveTheWeightWithoutAGradient) {
  Model model = tiny("mlp");
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, {"mlp", {2, 6}});
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    EXPECT_EQ(adapters.form(i), AdapterForm::kBeside);
  }
}

TEST(Adapters, LeaveZerosOfAPrunedWeightZero) {
  for (const bool dora : {false, true}) {
    Model model = tiny("mlp");
    const at::Tensor weight = model.tensor("fc2.weight").detach();
    at::Tensor zeros = weight.abs() < 0.1;
    zeros[3].fill_(true);  // a row that is gone as a whole
    model.set_tensor("fc2.weight", weight.masked_fill(zeros, 0));
    const auto inputs = model.example_inputs(3);
    Adapters adapters(model, true);
    testing::add_adapters(adapters, model, {"mlp", {2, 8, false, dora}});
    testing::train_a_little(model, adapters);
    const at::Tensor apart = output_of(model, inputs);
    adapters.merge();
    EXPECT_TRUE((model.tensor("fc2.weight") == 0).equal(zeros)) << dora;
    EXPECT_TRUE(at::allclose(output_of(model, inputs), apart, 1e-5, 1e-5)) << dora;
  }
}

TEST(Adapters, OverOneBaseAddUp) {
  Model model = tiny("mlp");
  const Model base = tiny("mlp");
  const auto inputs = model.example_inputs(3);
  const auto targets = find_adapter_targets(model, LayerFilter({"fc2"}, {}), false).targets;
  const at::Tensor weight = model.tensor("fc2.weight").detach().clone();
  Adapters adapters(model, true);
  at::Tensor expected = weight;
  const AdapterSettings kinds[] = {{2, 8}, {3, 4, true}, {2, 6, false, true}};
  const double shares[] = {1, 0.5, 0.25};
  for (std::size_t i = 0; i < 3; ++i) {
    Adapter adapter;
    adapter.module = "fc2";
    adapter.settings = kinds[i];
    adapter.share = shares[i];
    start_plain(adapter, weight, i);
    adapter.b = at::linspace(-0.2, 0.3, adapter.b.numel()).view(adapter.b.sizes());
    at::Tensor whole = weight + adapter.settings.scale() * at::matmul(adapter.b, adapter.a);
    if (adapter.settings.dora) {
      adapter.magnitude = adapter.magnitude * 1.5;
      whole = whole / whole.norm(2, 1, true) * adapter.magnitude.unsqueeze(1);
    }
    expected = expected + shares[i] * (whole - weight);
    adapters.add(adapter, targets.at(0));
  }
  const at::Tensor apart = output_of(model, inputs);
  adapters.merge();
  EXPECT_TRUE(at::allclose(model.tensor("fc2.weight"), expected, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(output_of(model, inputs), apart, 1e-5, 1e-5));
}

TEST(Adapters, GiveAWeightThatTwoLayersShareOneAdapter) {
  torch::jit::Module net("__torch__.Net");
  net.register_attribute("training", c10::BoolType::get(), false);
  net.register_parameter("weight", at::randn({5, 5}), false);
  net.define(R"(
def forward(self, x):
  return torch.linear(torch.relu(torch.linear(x, self.weight, None)), self.weight, None)
)");
  Model model = Model::from_module(net, {{{1, 5}}});
  const auto inputs = model.example_inputs(3);
  Adapters adapters(model, true);
  testing::add_adapters(adapters, model, {"", {2, 8}});
  EXPECT_EQ(adapters.size(), 1U);
  testing::train_a_little(model, adapters);
  const at::Tensor apart = output_of(model, inputs);
  adapters.merge();
  EXPECT_TRUE(at::allclose(output_of(model, inputs), apart, 1e-5, 1e-5));
}

TEST(Adapters, DropTheirInputsInTrainingOnly) {
  for (const char* name : {"mlp", "cnn"}) {
    Model model = tiny(name);
    const auto inputs = model.example_inputs(3);
    Adapters adapters(model, true);
    testing::add_adapters(adapters, model, {name, {2, 8, false, false, 0.5}});
    testing::train_a_little(model, adapters);
    EXPECT_TRUE(output_of(model, inputs).equal(output_of(model, inputs))) << name;
    model.set_training(true);
    EXPECT_FALSE(output_of(model, inputs).equal(output_of(model, inputs))) << name;
    model.set_training(false);
  }
}

}  // namespace
}  // namespace edgecompress
