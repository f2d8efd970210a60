#include "low_rank/factored_layers.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

#include "low_rank/low_rank_approximation.h"
#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::TextLayer;
using testing::TextNetwork;

PrunableWeight weight_called(const Model& model, const std::string& name) {
  for (const PrunableWeight& weight : find_prunable_weights(model, LayerFilter({}, {}))) {
    if (weight.weight == name) return weight;
  }
  throw std::runtime_error("no weight " + name);
}

FactorPair factors_of(const Model& model, const PrunableWeight& weight, FactorScheme scheme,
                      std::int64_t rank = 0) {
  const at::Tensor tensor = model.tensor(weight.weight);
  const LowRankApproximation approximation(weight, scheme, weight.to_matrix(tensor), {});
  const FactorPair factors = approximation.factors(rank > 0 ? rank : approximation.full_rank());
  return {factors.first.to(tensor.scalar_type()), factors.second.to(tensor.scalar_type())};
}

void factor(Model& model, const std::string& name, FactorScheme scheme = FactorScheme::kChannel) {
  const PrunableWeight weight = weight_called(model, name);
  ASSERT_EQ(why_not_factored(model, weight), "");
  replace_by_factors(model, weight, scheme, factors_of(model, weight, scheme));
  model.remove_unused_attributes();
}

void expect_same_outputs(const Model& left, const Model& right, const std::string& what = "") {
  const at::NoGradGuard no_grad;
  const auto inputs = left.example_inputs(0, 5);
  const at::Tensor expected = left.forward(inputs)[0], found = right.forward(inputs)[0];
  ASSERT_EQ(expected.sizes(), found.sizes()) << what;
  EXPECT_LT((expected - found).abs().max().item<double>(),
            1e-5 * (1 + expected.abs().max().item<double>()))
      << what;
}

/// A convolution of any shape, alone in a network.
TextNetwork random_convolution(std::mt19937& random) {
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const auto rank = static_cast<std::size_t>(draw(1, 3));
  const std::int64_t groups = draw(0, 2) == 0 ? draw(2, 3) : 1;
  const std::int64_t in = groups * draw(1, 4), out = groups * draw(1, 5);
  std::vector<std::int64_t> weight = {out, in / groups}, stride, padding, dilation,
                            input = {draw(1, 2), in};
  const std::int64_t spelling = draw(0, 3);  // 0: "same", 1: "valid"
  for (std::size_t i = 0; i < rank; ++i) {
    weight.push_back(draw(1, 4));
    stride.push_back(spelling == 0 ? 1 : draw(1, 3));
    padding.push_back(draw(0, 2));
    dilation.push_back(draw(1, 2));
    input.push_back(draw(8, 11));
  }
  const bool has_bias = draw(0, 1) == 1;
  const std::string text = spelling == 0   ? "\"same\""
                           : spelling == 1 ? "\"valid\""
                                           : fmt::format("[{}]", fmt::join(padding, ", "));
  testing::TensorShapes tensors = {{"weight", weight}};
  if (has_bias) tensors.push_back({"bias", {out}});
  TextLayer layer = {"c", tensors,
                     fmt::format("def forward(self, x):\n  return torch.conv{}d(x, self.weight, "
                                 "{}, [{}], {}, [{}], {})\n",
                                 rank, has_bias ? "self.bias" : "None", fmt::join(stride, ", "),
                                 text, fmt::join(dilation, ", "), groups)};
  if (draw(0, 5) == 0) input.erase(input.begin());  // without a batch
  return {"def forward(self, x):\n  return self.c(x)\n", {layer}, {testing::float_input(input)}};
}

std::int64_t total_macs(const Model& model) {
  std::int64_t macs = 0;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(0))) macs += node.macs;
  return macs;
}

std::int64_t total_weights(const Model& model) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : model.named_parameters())
    count += tensor.dim() > 1 ? tensor.numel() : 0;
  return count;
}

TEST(FactoredLayers, FullRankGivesTheOutputsOfAnyConvolution) {
  std::mt19937 random(11);
  int spatial = 0;
  for (int i = 0; i < 150; ++i) {
    const TextNetwork network = random_convolution(random);
    const Model original = testing::make_text_network(network, static_cast<std::uint64_t>(i + 1));
    for (const FactorScheme scheme : {FactorScheme::kChannel, FactorScheme::kSpatial}) {
      const bool is_spatial = scheme == FactorScheme::kSpatial;
      if (is_spatial && !has_spatial_scheme(weight_called(original, "c.weight"))) continue;
      spatial += is_spatial;
      Model model = original.clone();
      factor(model, "c.weight", scheme);
      expect_same_outputs(original, model, to_string(scheme) + "\n" + testing::to_text(network));
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(spatial, 15);
}

TEST(FactoredLayers, CostWhatTheNetworkCostsWithThem) {
  std::mt19937 random(12);
  for (int i = 0; i < 80; ++i) {
    const TextNetwork network = random_convolution(random);
    const Model original = testing::make_text_network(network);
    const PrunableWeight weight = weight_called(original, "c.weight");
    const ShapeMap shapes = record_shapes(original, original.example_inputs(0));
    EXPECT_EQ(cost_of_layer(weight, shapes).macs, total_macs(original));
    EXPECT_EQ(cost_of_layer(weight, shapes).parameters, total_weights(original));
    for (const FactorScheme scheme : {FactorScheme::kChannel, FactorScheme::kSpatial}) {
      if (scheme == FactorScheme::kSpatial && !has_spatial_scheme(weight)) continue;
      const LayerCost of_rank = cost_of_rank(weight, scheme, shapes);
      Model model = original.clone();
      replace_by_factors(model, weight_called(model, "c.weight"), scheme,
                         factors_of(original, weight, scheme, 1));
      model.remove_unused_attributes();
      EXPECT_EQ(of_rank.macs, total_macs(model)) << testing::to_text(network);
      EXPECT_EQ(of_rank.parameters, total_weights(model)) << testing::to_text(network);
    }
  }
}

TEST(FactoredLayers, MultiplyToTheWeight) {
  std::mt19937 random(13);
  for (int i = 0; i < 40; ++i) {
    const Model model = testing::make_text_network(random_convolution(random));
    const PrunableWeight weight = weight_called(model, "c.weight");
    for (const FactorScheme scheme : {FactorScheme::kChannel, FactorScheme::kSpatial}) {
      if (scheme == FactorScheme::kSpatial && !has_spatial_scheme(weight)) continue;
      const at::Tensor product = product_of(factors_of(model, weight, scheme), weight, scheme);
      EXPECT_TRUE(product.allclose(model.tensor("c.weight"), 1e-5, 1e-6));
    }
  }
}

TEST(FactoredLayers, AreNamedAsASequentialInTheirPlace) {
  const auto tiny = testing::make_tiny_model("mlp");
  const Model original = Model::from_module(tiny.module, tiny.inputs);
  const std::string name = find_layers(original)[0].name;
  Model model = original.clone();
  factor(model, name + ".weight");
  expect_same_outputs(original, model);
  for (const char* attribute : {".0.weight", ".1.weight", ".1.bias"})
    EXPECT_TRUE(model.has_attribute(name + attribute)) << attribute;
  for (const char* attribute : {".weight", ".bias", ".0.bias"})
    EXPECT_FALSE(model.has_attribute(name + attribute)) << attribute;
  const std::vector<Layer> layers = find_layers(model);
  EXPECT_EQ(layers[0].name, name + ".0");
  EXPECT_EQ(layers[1].name, name + ".1");
  EXPECT_EQ(layers[1].bias, name + ".1.bias");
  EXPECT_TRUE(model.tensor(name + ".0.weight").requires_grad());
}

TEST(FactoredLayers, CanBeFactoredAgain) {
  const auto tiny = testing::make_tiny_model("mlp");
  const Model original = Model::from_module(tiny.module, tiny.inputs);
  const std::string name = find_layers(original)[0].name;
  Model model = original.clone();
  factor(model, name + ".weight");
  factor(model, name + ".1.weight");
  EXPECT_TRUE(model.has_attribute(name + ".1.1.bias"));
  expect_same_outputs(original, model);
}

TEST(FactoredLayers, FindAPlaceForWeightsOfTheNetworkItself) {
  const TextNetwork network = {
      "def forward(self, x):\n"
      "  return torch.linear(torch.linear(x, self.first, None), self.second, None)\n",
      {{"", {{"first", {5, 4}}, {"second", {3, 5}}}, ""}},
      {testing::float_input({2, 4})}};
  const Model original = testing::make_text_network(network);
  Model model = original.clone();
  factor(model, "first");
  factor(model, "second");
  EXPECT_TRUE(model.has_attribute("factors.0.weight"));
  EXPECT_TRUE(model.has_attribute("factors_1.1.weight"));
  expect_same_outputs(original, model);
}

TEST(FactoredLayers, ServeEveryReaderOfASharedWeight) {
  const TextNetwork network = {"def forward(self, x):\n  return self.a(torch.relu(self.a(x)))\n",
                               {testing::linear("a", 4, 4)},
                               {testing::float_input({2, 4})}};
  const Model original = testing::make_text_network(network);
  Model model = original.clone();
  factor(model, "a.weight");
  EXPECT_FALSE(model.has_attribute("a.weight"));
  EXPECT_EQ(find_layers(model).size(), 4U);
  expect_same_outputs(original, model);
}

TEST(FactoredLayers, LeaveABiasThatOthersRead) {
  const TextNetwork network = {
      "def forward(self, x):\n"
      "  return torch.linear(torch.linear(x, self.first, self.shift), self.second, self.shift)\n",
      {{"", {{"first", {4, 4}}, {"second", {4, 4}}, {"shift", {4}}}, ""}},
      {testing::float_input({2, 4})}};
  const Model original = testing::make_text_network(network);
  Model model = original.clone();
  factor(model, "first");
  EXPECT_TRUE(model.has_attribute("shift"));
  expect_same_outputs(original, model);
}

std::string reason_for(const TextNetwork& network, const std::string& weight) {
  const Model model = testing::make_text_network(network);
  return why_not_factored(model, weight_called(model, weight));
}

TEST(FactoredLayers, AreRefusedWithAReason) {
  const auto input = testing::float_input({2, 4, 6, 6});
  EXPECT_EQ(reason_for({"def forward(self, x):\n  return self.t(x)\n",
                        {testing::conv_transpose("t", 4, 6)},
                        {input}},
                       "t.weight"),
            "it is a transposed convolution");
  EXPECT_EQ(reason_for({"def forward(self, x):\n  return torch.conv2d(x, self.w) * self.w.sum()\n",
                        {{"", {{"w", {6, 4, 1, 1}}}, ""}},
                        {input}},
                       "w"),
            "others than layers of its kind read its weight too");
  EXPECT_EQ(reason_for({"def forward(self, x):\n  return self.r(x)\n",
                        {testing::recurrent("r", {testing::Recurrence::kGru, 4, 5})},
                        {testing::float_input({2, 3, 4})}},
                       "r.weight_ih_l0"),
            "its steps multiply with the whole weight in one kernel");
}

TEST(FactoredLayers, AreRefusedWhereTwoLayersHoldOneWeight) {
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  const std::string first = find_layers(model)[0].name;
  const at::Tensor weight = model.tensor(first + ".weight");
  model.add_parameter("copy", weight.clone());
  EXPECT_EQ(why_not_factored(model, weight_called(model, first + ".weight")), "");
  model.add_parameter("tied", weight);
  EXPECT_EQ(why_not_factored(model, weight_called(model, first + ".weight")),
            "other layers hold the same weight");
}

}  // namespace
}  // namespace edgecompress
