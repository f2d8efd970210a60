#include "model/weight_matrix.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "support/tiny_models.h"

namespace edgecompress {
namespace {

struct LayerCase {
  std::string name, call;  ///< of x, self.weight
  std::vector<std::int64_t> weight, input;
};

Model one_layer(const LayerCase& layer) {
  torch::jit::Module net("__torch__.Net");
  net.register_parameter("weight", at::randn(layer.weight, at::detail::createCPUGenerator(1)),
                         false);
  net.define("def forward(self, x):\n  return " + layer.call + "\n");
  net.eval();
  return Model::from_module(net, {{layer.input}});
}

class WeightMatrix : public ::testing::TestWithParam<LayerCase> {};

TEST_P(WeightMatrix, TimesItsFeaturesIsWhatTheLayerGives) {
  const at::NoGradGuard no_grad;
  const Model model = one_layer(GetParam());
  const auto weights = find_prunable_weights(model, LayerFilter({}, {}));
  ASSERT_EQ(weights.size(), 1U);
  const PrunableWeight& weight = weights[0];
  ASSERT_TRUE(weight.has_features());

  auto sizes = GetParam().input;
  sizes[0] = 3;
  const at::Tensor input = at::randn(sizes, at::detail::createCPUGenerator(2));
  const at::Tensor features = input_features(weight, *weight.nodes[0], input);
  ASSERT_EQ(features.size(0), weight.groups);
  ASSERT_EQ(features.size(1), weight.columns());
  const at::Tensor matrix = weight.to_matrix(model.tensor(weight.weight));
  const at::Tensor rows = at::bmm(matrix.reshape({weight.groups, -1, weight.columns()}), features);

  at::Tensor expected = model.forward({input})[0];
  const std::int64_t feature_dim = weight.kind == LayerKind::kLinear ? expected.dim() - 1 : 1;
  expected = expected.movedim(feature_dim, 0).reshape({weight.groups, -1, rows.size(2)});
  EXPECT_TRUE(rows.allclose(expected, 1e-4, 1e-4)) << (rows - expected).abs().max();
}

TEST_P(WeightMatrix, IsAnotherOrderOfTheSameWeights) {
  const Model model = one_layer(GetParam());
  const auto weights = find_prunable_weights(model, LayerFilter({}, {}));
  const at::Tensor original = model.tensor("weight").detach();
  EXPECT_TRUE(weights[0].from_matrix(weights[0].to_matrix(original)).equal(original));
}

INSTANTIATE_TEST_SUITE_P(
    Layers, WeightMatrix,
    ::testing::Values(
        LayerCase{"linear", "torch.linear(x, self.weight, None)", {5, 7}, {1, 4, 7}},
        LayerCase{"conv1d",
                  "torch.conv1d(x, self.weight, None, [2], [3], [2], 1)",
                  {6, 4, 3},
                  {1, 4, 11}},
        LayerCase{"conv2d",
                  "torch.conv2d(x, self.weight, None, [2, 1], [0, 2], [1, 2], 1)",
                  {6, 4, 2, 3},
                  {1, 4, 7, 9}},
        LayerCase{"grouped",
                  "torch.conv2d(x, self.weight, None, [1, 1], [1, 1], [1, 1], 2)",
                  {6, 4, 3, 3},
                  {1, 8, 5, 6}},
        LayerCase{"depthwise",
                  "torch.conv2d(x, self.weight, None, [1, 1], [1, 1], [1, 1], 5)",
                  {10, 1, 3, 3},
                  {1, 5, 6, 6}},
        LayerCase{"same_padding",
                  "torch.conv2d(x, self.weight, None, [1, 1], \"same\", [2, 2], 1)",
                  {3, 2, 3, 3},
                  {1, 2, 6, 6}},
        LayerCase{"conv3d",
                  "torch.conv3d(x, self.weight, None, [1, 2, 1], [1, 0, 1], [1, 1, 1], 1)",
                  {4, 3, 2, 3, 2},
                  {1, 3, 4, 5, 4}},
        LayerCase{"transposed",
                  "torch.conv_transpose2d(x, self.weight, None, [2, 3], [1, 0], [1, 2], 1, [1, 2])",
                  {4, 6, 3, 2},
                  {1, 4, 5, 4}},
        LayerCase{"transposed_grouped",
                  "torch.conv_transpose1d(x, self.weight, None, [2], [2], [0], 2, [1])",
                  {4, 3, 4},
                  {1, 4, 6}}),
    [](const auto& test) { return test.param.name; });

TEST(FindPrunableWeights, TakesSharedWeightsOnce) {
  torch::jit::Module net("__torch__.Net");
  net.register_parameter("weight", at::eye(3), false);
  net.define(
      "def forward(self, x):\n  return torch.linear(torch.relu(torch.linear(x, self.weight, "
      "None)), self.weight, None)\n");
  net.eval();
  const Model model = Model::from_module(net, {{{1, 3}}});
  const auto weights = find_prunable_weights(model, LayerFilter({}, {}));
  ASSERT_EQ(weights.size(), 1U);
  EXPECT_EQ(weights[0].nodes.size(), 2U);
}

TEST(FindPrunableWeights, CountsTheMatricesOfRecurrentLayersButNoFeaturesOfThem) {
  const auto tiny = testing::make_tiny_model("lstm");
  const Model model = Model::from_module(tiny.module, tiny.inputs);
  const auto weights = find_prunable_weights(model, LayerFilter({"rnn"}, {}));
  ASSERT_EQ(weights.size(), 2U);
  EXPECT_EQ(weights[0].rows(), 40);
  EXPECT_EQ(weights[0].columns(), 6);
  EXPECT_FALSE(weights[0].has_features());
}

}  // namespace
}  // namespace edgecompress
