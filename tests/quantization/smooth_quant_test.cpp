#include "quantization/smooth_quant.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "support/text_network.h"

namespace edgecompress {
namespace {

using namespace testing;

struct Smoothed {
  Model before, after;
  SmoothQuant done;
};

Smoothed smooth(const TextNetwork& text, double alpha, const at::Tensor& inputs,
                const std::string& loud_gamma = {}) {
  Model model = make_text_network(text);
  if (!loud_gamma.empty()) model.tensor(loud_gamma).detach()[1].fill_(50);
  Model after = model.clone();
  Progress silent;
  const auto data = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  const SmoothQuant done = smooth_activations(after, alpha, data, 16, silent);
  return {std::move(model), std::move(after), done};
}

at::Tensor normal(const std::vector<std::int64_t>& shape) {
  return at::randn(shape, at::detail::createCPUGenerator(3), at::kDouble);
}

void expect_same_function(const Smoothed& smoothed, const at::Tensor& inputs) {
  const at::Tensor y = smoothed.before.forward({inputs})[0],
                   z = smoothed.after.forward({inputs})[0];
  EXPECT_LT((y - z).abs().max().item<double>(), 1e-10 * y.abs().max().item<double>());
}

/// By hand: max|X| = (4, 1), max|W| = (1, 4), alpha 0.5: s = (2, 0.5).
TEST(SmoothQuant, ScalesByTheFormulaOfThePaper) {
  const TextNetwork text = {"def forward(self, x):\n  return self.b(torch.relu(self.a(x)))\n",
                            {linear("a", 2, 2), linear("b", 2, 2)},
                            {float_input({1, 2})}};
  Model model = make_text_network(text);
  model.set_tensor("a.weight", at::eye(2, at::kDouble));
  model.set_tensor("a.bias", at::zeros({2}, at::kDouble));
  model.set_tensor("b.weight", at::tensor({1.0, -4.0, 0.5, 2.0}, at::kDouble).reshape({2, 2}));
  Progress silent;
  const auto data = std::make_shared<TensorDataset>(
      std::vector<at::Tensor>{at::tensor({4.0, 0.5, -9.0, 1.0}, at::kDouble).reshape({2, 2})});
  const SmoothQuant done = smooth_activations(model, 0.5, data, 1, silent);
  EXPECT_EQ(done.channels, 2);
  EXPECT_EQ(done.layers, 1);
  EXPECT_TRUE(at::allclose(model.tensor("a.weight"),
                           at::tensor({0.5, 0.0, 0.0, 2.0}, at::kDouble).reshape({2, 2})));
  EXPECT_TRUE(at::allclose(model.tensor("b.weight"),
                           at::tensor({2.0, -2.0, 1.0, 1.0}, at::kDouble).reshape({2, 2})));
}

TEST(SmoothQuant, MovesOutliersOfALayerNormIntoAllItsReaders) {
  const TextNetwork text = {
      "def forward(self, x):\n"
      "  y = self.norm(x)\n"
      "  attention = torch.softmax(torch.matmul(self.q(y), self.k(y).transpose(-2, -1)), -1)\n"
      "  z = torch.matmul(attention, self.v(y))\n"
      "  return x + z.reshape(x.size(0) * x.size(1), 8).view(x.size())\n",
      {layer_norm("norm", 8), linear("q", 8, 8), linear("k", 8, 8), linear("v", 8, 8)},
      {float_input({2, 5, 8})}};
  const at::Tensor inputs = normal({64, 5, 8});
  const Smoothed smoothed = smooth(text, 0.5, inputs, "norm.weight");
  EXPECT_EQ(smoothed.done.channels, 8);
  EXPECT_EQ(smoothed.done.layers, 3);
  EXPECT_GT(smoothed.done.spread_before, 30);
  EXPECT_LT(smoothed.done.spread_after, 12);
  expect_same_function(smoothed, inputs);
}

TEST(SmoothQuant, LeavesAloneWhatNothingCanTakeUp) {
  const TextNetwork text = {"def forward(self, x):\n  return self.b(torch.gelu(self.a(x)))\n",
                            {linear("a", 6, 4), linear("b", 3, 6)},
                            {float_input({1, 4})}};
  const Smoothed smoothed = smooth(text, 0.5, normal({32, 4}));
  EXPECT_EQ(smoothed.done.channels, 0);
  EXPECT_EQ(smoothed.done.layers, 0);
  EXPECT_TRUE(smoothed.after.tensor("b.weight").equal(smoothed.before.tensor("b.weight")));
}

}  // namespace
}  // namespace edgecompress
