#include "model/layers.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "edgecompress/error.h"
#include "model/model.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using torch::jit::Module;

Model load_text(Module module, const std::string& forward, std::vector<std::int64_t> shape) {
  module.define(forward);
  return Model::from_module(module, {{std::move(shape), "float32", 2}});
}

Module module_with(const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  Module module("Net");
  for (const auto& [name, tensor] : parameters) module.register_parameter(name, tensor, false);
  return module;
}

std::vector<LayerKind> kinds_of(const std::vector<Layer>& layers) {
  std::vector<LayerKind> kinds;
  for (const Layer& layer : layers) kinds.push_back(layer.kind);
  return kinds;
}

TEST(Layers, AreListedInExecutionOrderWithWeightAndBias) {
  Module conv = module_with({{"weight", at::ones({4, 3, 1, 1})}, {"bias", at::ones({4})}});
  conv.define("def forward(self, x):\n  return torch.conv2d(x, self.weight, self.bias)\n");
  Module net("Net");
  net.register_module("features", Module("Features"));
  net.register_module("stem", conv);
  net.register_module("head", module_with({{"weight", at::ones({2, 4})}}));
  const Model model = load_text(
      net,
      "def forward(self, x):\n  return torch.linear(torch.mean(self.stem.forward(x), [2, 3]), "
      "self.head.weight)\n",
      {1, 3, 2, 2});
  const auto layers = find_layers(model);
  ASSERT_THAT(kinds_of(layers), ElementsAre(LayerKind::kConv, LayerKind::kLinear));
  EXPECT_EQ(layers[0].name, "stem");
  EXPECT_THAT(layers[0].weights, ElementsAre("stem.weight", "stem.bias"));
  EXPECT_EQ(layers[0].weight, "stem.weight");
  EXPECT_EQ(layers[0].bias, "stem.bias");
  EXPECT_EQ(layers[1].weight, "head.weight");
  EXPECT_EQ(layers[1].bias, std::nullopt);
}

TEST(Layers, OfANetworkOfEachFamilyHaveTheKindsOfTheirOps) {
  const auto lstm = testing::make_tiny_model("lstm");
  const Model model = Model::from_module(lstm.module, lstm.inputs);
  const auto layers = find_layers(model);
  ASSERT_FALSE(layers.empty());
  EXPECT_EQ(layers[0].kind, LayerKind::kLstm);
  EXPECT_EQ(layers[0].weights.size(), 4u);
  EXPECT_EQ(layers[0].weight, std::nullopt);
}

TEST(Layers, WithAComputedWeightHaveNoWeightButNameWhatIsBehindIt) {
  Module net =
      module_with({{"weight", at::ones({2, 4})}, {"a", at::ones({1, 4})}, {"b", at::ones({2, 1})}});
  const Model model = load_text(net,
                                "def forward(self, x):\n  return torch.linear(x, self.weight + "
                                "torch.matmul(self.b, self.a))\n",
                                {1, 4});
  const auto layers = find_layers(model);
  ASSERT_EQ(layers.size(), 1u);
  EXPECT_EQ(layers[0].weight, std::nullopt);
  EXPECT_THAT(layers[0].weights, ElementsAre("weight", "b", "a"));
  EXPECT_EQ(layers[0].name, "weight");
}

TEST(Layers, CountMatrixProductsOnlyWithAWeight) {
  Module net = module_with({{"weight", at::ones({4, 4})}});
  const Model model = load_text(net,
                                "def forward(self, x):\n"
                                "  y = torch.matmul(x, self.weight)\n"
                                "  return torch.matmul(y, torch.transpose(y, 0, 1))\n",
                                {2, 4});
  const auto layers = find_layers(model);
  ASSERT_THAT(kinds_of(layers), ElementsAre(LayerKind::kMatmul));
  EXPECT_EQ(layers[0].weight, "weight");
}

TEST(Layers, IncludeOtherOpsThatMixWeightsAndActivations) {
  Module net = module_with({{"slope", at::ones({1})}, {"scale", at::ones({3})}});
  const Model model = load_text(
      net, "def forward(self, x):\n  return torch.prelu(x, self.slope) * self.scale\n", {2, 3});
  EXPECT_THAT(kinds_of(find_layers(model)), ElementsAre(LayerKind::kOther, LayerKind::kOther));
}

TEST(Layers, InsideConditionsAreFound) {
  Module net = module_with({{"weight", at::ones({4, 4})}});
  const Model model = load_text(net,
                                "def forward(self, x):\n"
                                "  if bool(torch.sum(x) > 0):\n"
                                "    x = torch.linear(x, self.weight)\n"
                                "  return x\n",
                                {2, 4});
  EXPECT_THAT(kinds_of(find_layers(model)), ElementsAre(LayerKind::kLinear));
}

TEST(AttributePath, IsEmptyForWhatIsNoAttribute) {
  Module net = module_with({{"weight", at::ones({4, 4})}});
  const Model model =
      load_text(net, "def forward(self, x):\n  return torch.linear(x, self.weight)\n", {2, 4});
  const auto* linear = find_layers(model).at(0).node;
  EXPECT_EQ(attribute_path(linear->input(0)), "");
  EXPECT_EQ(attribute_path(linear->input(1)), "weight");
  EXPECT_EQ(attribute_path(linear->output()), "");
}

TEST(ConstantOf, ReadsNumbersListsAndNoneButNotActivations) {
  Module net = module_with({{"weight", at::ones({4, 3, 1, 1})}});
  const Model model =
      load_text(net, "def forward(self, x):\n  return torch.conv2d(x, self.weight, None, [2, 1])\n",
                {1, 3, 4, 4});
  const auto* conv = find_layers(model).at(0).node;
  EXPECT_TRUE(constant_of(conv->input(2))->isNone());
  EXPECT_EQ(constant_of(conv->input(3))->toIntVector(), (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(constant_of(conv->input(6))->toInt(), 1);
  EXPECT_FALSE(constant_of(conv->input(0)));
}

TEST(ConstantOf, ReadsListsBuiltFromConstants) {
  torch::jit::Graph graph;
  torch::jit::Value* three = graph.insertConstant(3);
  torch::jit::Node* list = graph.insertNode(graph.createList(c10::IntType::get(), {three, three}));
  EXPECT_EQ(constant_of(list->output())->toIntVector(), (std::vector<std::int64_t>{3, 3}));
  torch::jit::Node* open = graph.insertNode(graph.createList(
      c10::IntType::get(), {three, graph.addInput()->setType(c10::IntType::get())}));
  EXPECT_FALSE(constant_of(open->output()));
}

TEST(InsertAttribute, ReadsItAtTheGraphsStartAndRefusesOthers) {
  Module part = module_with({{"scale", at::full({3}, 2.0)}});
  Module net("Net");
  net.register_module("part", part);
  Model model =
      load_text(net, "def forward(self, x):\n  return torch.relu(x) * self.part.scale\n", {2, 3});
  const auto graph = model.edit();
  torch::jit::Value* scale = insert_attribute(*graph, model, "part.scale");
  EXPECT_EQ(attribute_path(scale), "part.scale");
  graph->block()->replaceOutput(0, scale);
  EXPECT_TRUE(at::equal(model.forward({at::ones({2, 3})})[0], at::full({3}, 2.0)));
  EXPECT_THROW(insert_attribute(*graph, model, "part.shift"), Error);
}

}  // namespace
}  // namespace edgecompress
