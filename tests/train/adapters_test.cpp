#include "train/adapters.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/passes/canonicalize.h>

#include "edgecompress/error.h"
#include "model/safetensors.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

Model tiny(const std::string& name) {
  const auto model = testing::make_tiny_model(name);
  return Model::from_module(model.module, model.inputs);
}

std::vector<Layer> weighted_layers(Model& model) {
  std::vector<Layer> layers;
  for (const Layer& layer : find_layers(model)) {
    if (layer.weight && (layer.kind == LayerKind::kConv || layer.kind == LayerKind::kLinear)) {
      layers.push_back(layer);
    }
  }
  return layers;
}

at::Tensor output_of(const Model& model, const std::vector<at::Tensor>& inputs) {
  const at::NoGradGuard no_grad;
  return model.forward(inputs).at(0);
}

/// The graph without the names of its values, which an edit may change.
std::string text_of(Model& model) {
  return torch::jit::Canonicalize(model.edit(), /*keep_unique_names=*/false)->toString();
}

/// As if B had been trained.
void fill_b(Model& model, const Adapters& adapters) {
  const auto names = adapters.parameters();
  for (std::size_t i = 1; i < names.size(); i += 2) {
    const at::Tensor b = model.tensor(names[i]);
    model.set_tensor(names[i], at::linspace(-0.2, 0.3, b.numel()).view(b.sizes()));
  }
}

const char* const kAdaptable[] = {"mlp",        "cnn",    "residual_cnn", "depthwise_cnn",
                                  "concat_cnn", "conv1d", "transformer"};

TEST(Adapters, ChangeNoOutputBeforeTraining) {
  for (const char* name : kAdaptable) {
    Model model = tiny(name);
    const auto inputs = model.example_inputs(3);
    const at::Tensor before = output_of(model, inputs);
    const auto layers = weighted_layers(model);
    const Adapters adapters(model, layers, {4, 8, true}, 1);
    EXPECT_EQ(adapters.size(), layers.size()) << name;
    EXPECT_TRUE(output_of(model, inputs).equal(before)) << name;
  }
}

TEST(Adapters, MergedModelEqualsBaseWithAdapters) {
  for (const char* name : kAdaptable) {
    Model model = tiny(name);
    const auto inputs = model.example_inputs(3);
    const at::Tensor before = output_of(model, inputs);
    Adapters adapters(model, weighted_layers(model), {2, 8, true}, 1);
    fill_b(model, adapters);
    const at::Tensor adapted = output_of(model, inputs);
    adapters.merge();
    EXPECT_FALSE(at::allclose(adapted, before, 1e-2, 1e-2)) << name;
    EXPECT_TRUE(at::allclose(output_of(model, inputs), adapted, 1e-6, 1e-6)) << name;
  }
}

TEST(Adapters, AddTheScaledProductToTheWeight) {
  Model model = tiny("cnn");
  const at::Tensor before = model.tensor("conv2.weight").detach().clone();
  Adapters adapters(model, weighted_layers(model), {2, 6, true}, 1);
  fill_b(model, adapters);
  const auto names = adapters.parameters();  // conv1's, conv2's, fc's
  const at::Tensor a = model.tensor(names[2]).detach().clone();
  const at::Tensor b = model.tensor(names[3]).detach().clone();
  ASSERT_EQ(a.sizes(), (std::vector<std::int64_t>{2, 8 * 9}));
  ASSERT_EQ(b.sizes(), (std::vector<std::int64_t>{16, 2}));
  adapters.merge();
  const at::Tensor expected = before + 3 * at::matmul(b, a).view({16, 8, 3, 3});
  EXPECT_TRUE(at::allclose(model.tensor("conv2.weight"), expected, 1e-6, 1e-7));
}

TEST(Adapters, LeaveGraphAndAttributesAsTheyWereAfterMerging) {
  for (const char* name : kAdaptable) {
    Model model = tiny(name);
    const std::string graph = text_of(model);
    const auto parameters = model.named_parameters();
    Adapters(model, weighted_layers(model), {2, 8, true}, 1).merge();
    EXPECT_EQ(text_of(model), graph) << name;
    ASSERT_EQ(model.named_parameters().size(), parameters.size()) << name;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_EQ(model.named_parameters()[i].first, parameters[i].first) << name;
    }
  }
}

TEST(Adapters, GoWithoutTraceIfTheyAreNotMerged) {
  Model model = tiny("cnn");
  const std::string graph = text_of(model);
  const at::Tensor weight = model.tensor("conv1.weight").detach().clone();
  {
    const Adapters adapters(model, weighted_layers(model), {2, 8, true}, 1);
    fill_b(model, adapters);
  }
  EXPECT_EQ(text_of(model), graph);
  EXPECT_TRUE(model.tensor("conv1.weight").equal(weight));
  EXPECT_EQ(model.named_parameters().size(), tiny("cnn").named_parameters().size());
}

TEST(Adapters, LeaveZerosOfAPrunedWeightZero) {
  Model model = tiny("cnn");
  const at::Tensor weight = model.tensor("conv2.weight").detach();
  const at::Tensor zeros = weight.abs() < 0.1;
  model.set_tensor("conv2.weight", weight.masked_fill(zeros, 0));
  const auto inputs = model.example_inputs(3);
  Adapters adapters(model, weighted_layers(model), {2, 8, true}, 1);
  fill_b(model, adapters);
  const at::Tensor adapted = output_of(model, inputs);
  adapters.merge();
  EXPECT_TRUE((model.tensor("conv2.weight") == 0).equal(zeros));
  EXPECT_TRUE(at::allclose(output_of(model, inputs), adapted, 1e-6, 1e-6));
}

TEST(Adapters, WriteFilesInTheLayoutOfPeft) {
  Model model = tiny("cnn");
  Adapters adapters(model, weighted_layers(model), {2, 6, true}, 1);
  fill_b(model, adapters);
  const auto files = adapters.files();
  const Json config = Json::parse(files.at("adapter_config.json"));
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 2);
  EXPECT_EQ(config["lora_alpha"], 6);
  EXPECT_EQ(config["target_modules"], Json({"conv1", "conv2", "fc"}));

  const Safetensors stored = read_safetensors(files.at("adapter_model.safetensors"), "adapter");
  ASSERT_EQ(stored.tensors.size(), 6U);
  const at::Tensor a = stored.tensors.at("base_model.model.conv2.lora_A.weight");
  const at::Tensor b = stored.tensors.at("base_model.model.conv2.lora_B.weight");
  EXPECT_EQ(a.sizes(), (std::vector<std::int64_t>{2, 8, 3, 3}));
  EXPECT_EQ(b.sizes(), (std::vector<std::int64_t>{16, 2, 1, 1}));

  // PEFT runs a convolution's adapter beside the layer: conv(conv(x, A), B) * alpha / r.
  const at::Tensor x = at::randn({2, 8, 6, 6});
  const at::Tensor base = model.tensor("conv2.weight").detach().clone();
  adapters.merge();
  const at::Tensor beside = at::conv2d(x, base) + 3 * at::conv2d(at::conv2d(x, a), b);
  EXPECT_TRUE(at::allclose(at::conv2d(x, model.tensor("conv2.weight")), beside, 1e-4, 1e-4));
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
  const auto layers = weighted_layers(model);
  ASSERT_EQ(layers.size(), 2U);
  Adapters adapters(model, layers, {2, 8, true}, 1);
  EXPECT_EQ(adapters.size(), 1U);
  fill_b(model, adapters);
  const at::Tensor adapted = output_of(model, inputs);
  adapters.merge();
  EXPECT_TRUE(at::allclose(output_of(model, inputs), adapted, 1e-5, 1e-5));
}

}  // namespace
}  // namespace edgecompress
