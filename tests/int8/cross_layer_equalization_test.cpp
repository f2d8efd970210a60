#include "int8/cross_layer_equalization.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/text_network.h"

namespace edgecompress {
namespace {

using namespace testing;

TextNetwork network(const std::string& body, std::vector<TextLayer> layers,
                    std::vector<std::int64_t> input) {
  return {"def forward(self, x):\n" + body, std::move(layers), {float_input(std::move(input))}};
}

/// The weight's rows differ by a factor of `spread`, which the reader of its channels makes up for.
void unbalance(Model& model, const std::string& maker, const std::string& reader, double spread) {
  const at::Tensor weight = model.tensor(maker + ".weight"), bias = model.tensor(maker + ".bias");
  const at::Tensor next = model.tensor(reader + ".weight");
  const std::int64_t channels = weight.size(0);
  const at::Tensor factor = at::linspace(0, 1, channels, at::kDouble).mul(std::log(spread)).exp();
  const auto shaped = [&](const at::Tensor& like, std::size_t dim) {
    std::vector<std::int64_t> shape(static_cast<std::size_t>(like.dim()), 1);
    shape[dim] = channels;
    return factor.reshape(shape);
  };
  model.set_tensor(maker + ".weight", weight * shaped(weight, 0));
  model.set_tensor(maker + ".bias", bias * factor);
  const bool is_depthwise = next.size(1) == 1;
  model.set_tensor(reader + ".weight", next / shaped(next, is_depthwise ? 0 : 1));
}

void expect_same_function(const Model& expected, const Model& found) {
  const auto inputs = expected.example_inputs(3, 9);
  const auto y = expected.forward(inputs), z = found.forward(inputs);
  for (std::size_t i = 0; i < y.size(); ++i) {
    EXPECT_LT((y[i] - z[i]).abs().max().item<double>(), 1e-9 * y[i].abs().max().item<double>());
  }
}

Equalization equalize(const TextNetwork& text) {
  const Model model = make_text_network(text);
  Model equal = model.clone();
  const Equalization done = equalize_layers(equal);
  expect_same_function(model, equal);
  return done;
}

TEST(CrossLayerEqualization, GivesBothLayersOfAPairTheSameRanges) {
  const TextNetwork text = network("  return self.b(torch.relu(self.a(x)))\n",
                                   {linear("a", 6, 4), linear("b", 3, 6)}, {2, 4});
  Model model = make_text_network(text);
  const Model original = model.clone();
  unbalance(model, "a", "b", 100);
  expect_same_function(original, model);
  const at::Tensor product =
      model.tensor("a.weight").abs().amax(1) * model.tensor("b.weight").abs().amax(0);
  const Equalization done = equalize_layers(model);
  EXPECT_EQ(done.channels, 6);
  EXPECT_EQ(done.weights, 2);
  EXPECT_GT(done.spread_before, 20);
  expect_same_function(original, model);
  // sqrt(r1 r2) on both sides: eq. 11 of the paper.
  EXPECT_TRUE(at::allclose(model.tensor("a.weight").abs().amax(1), product.sqrt(), 0.02));
  EXPECT_TRUE(at::allclose(model.tensor("b.weight").abs().amax(0), product.sqrt(), 0.02));
}

TEST(CrossLayerEqualization, GoesThroughDepthwiseConvolutionsPoolingAndFlatten) {
  TextNetwork text = network(
      "  y = torch.leaky_relu(self.b(torch.relu(self.a(x))), 0.1)\n"
      "  y = torch.dropout(torch.max_pool2d(y, [2, 2]), 0.5, False)\n"
      "  return self.c(torch.flatten(torch.avg_pool2d(y, [2, 2]), 1))\n",
      {conv("a", {6, 3}), conv("b", {6, 6, 3, 6}), linear("c", 5, 24)}, {2, 3, 8, 8});
  Model model = make_text_network(text);
  const Model original = model.clone();
  unbalance(model, "a", "b", 100);
  const Equalization done = equalize_layers(model);
  EXPECT_EQ(done.channels, 12);
  EXPECT_EQ(done.weights, 3);
  EXPECT_GT(done.spread_before, 20);
  EXPECT_LT(done.spread_after, 8);
  expect_same_function(original, model);
}

TEST(CrossLayerEqualization, ScalesAResidualStreamAsOne) {
  const Equalization done =
      equalize(network("  x = torch.relu(self.stem(x))\n"
                       "  y = self.b(self.slope(self.a(x)))\n"
                       "  x = torch.relu(x + y)\n"
                       "  return self.head(torch.mean(x, [2, 3]))\n",
                       {conv("stem", {6, 3}), conv("a", {4, 6}), prelu("slope", 4),
                        conv("b", {6, 4}), linear("head", 5, 6)},
                       {2, 3, 6, 6}));
  EXPECT_EQ(done.channels, 6 + 4);
  EXPECT_EQ(done.weights, 4);
}

TEST(CrossLayerEqualization, FollowsChannelsThroughConcatenationPaddingAndGroups) {
  const Equalization done =
      equalize(network("  x = torch.relu(self.stem(x))\n"
                       "  y = torch.cat([self.a(x), torch.relu(self.b(x))], 1)\n"
                       "  y = y + torch.constant_pad_nd(x, [0, 0, 0, 0, 1, 1], 0.)\n"
                       "  p, q = torch.chunk(self.c(y), 2, 1)\n"
                       "  return self.up(torch.relu(torch.cat([q, p], 1)))\n",
                       {conv("stem", {4, 3}), conv("a", {2, 4}), conv("b", {4, 4}),
                        conv("c", {4, 6, 1, 2}), conv_transpose("up", 4, 4, 2)},
                       {2, 3, 6, 6}));
  EXPECT_EQ(done.weights, 5);
  EXPECT_EQ(done.channels, 4 + 2 + 4);
}

TEST(CrossLayerEqualization, ScalesWhatAGateMultipliesButNotTheGate) {
  const Equalization done = equalize(network(
      "  x = torch.relu(self.a(x))\n"
      "  g = torch.relu(self.squeeze(torch.adaptive_avg_pool2d(x, [1, 1])))\n"
      "  return self.b(x * torch.hardsigmoid(self.excite(g)))\n",
      {conv("a", {6, 3}), conv("squeeze", {2, 6, 1}), conv("excite", {6, 2, 1}), conv("b", {4, 6})},
      {2, 3, 6, 6}));
  EXPECT_EQ(done.channels, 6 + 2);
  EXPECT_EQ(done.weights, 4);
}

TEST(CrossLayerEqualization, KeepsLayersApartWhereAnOpIsNotHomogeneous) {
  for (const char* op : {"torch.hardtanh(y, 0., 6.)", "torch.sigmoid(y)", "torch.hardswish(y)",
                         "torch.softmax(y, 1)", "(y + 1.)", "(y * y)"}) {
    const Equalization done =
        equalize(network("  y = self.a(x)\n  return self.b(" + std::string(op) + ")\n",
                         {linear("a", 6, 4), linear("b", 3, 6)}, {2, 4}));
    EXPECT_EQ(done.weights, 0) << op;
  }
}

TEST(CrossLayerEqualization, LeavesWeightsAloneThatOthersReadToo) {
  const Equalization done =
      equalize(network("  y = torch.relu(torch.linear(x, self.weight))\n"
                       "  return torch.linear(y, self.b) + self.weight.sum()\n",
                       {{"", {{"weight", {6, 4}}, {"b", {3, 6}}}, ""}}, {2, 4}));
  EXPECT_EQ(done.weights, 0);
}

TEST(CrossLayerEqualization, CouplesTheChannelsOfALayerThatRunsTwice) {
  const Equalization done =
      equalize(network("  x = torch.relu(self.a(x))\n"
                       "  x = torch.relu(self.b(torch.relu(self.b(x))))\n"
                       "  return self.c(x)\n",
                       {linear("a", 6, 4), linear("b", 6, 6), linear("c", 3, 6)}, {2, 4}));
  EXPECT_EQ(done.weights, 3);
  EXPECT_EQ(done.channels, 6);
}

TEST(CrossLayerEqualization, PassesOverChannelsOfZeros) {
  const TextNetwork text = network("  return self.b(torch.relu(self.a(x)))\n",
                                   {linear("a", 6, 4), linear("b", 3, 6)}, {2, 4});
  Model model = make_text_network(text);
  model.tensor("a.weight").detach()[2].zero_();
  model.tensor("b.weight").detach().select(1, 3).zero_();
  const Model original = model.clone();
  EXPECT_EQ(equalize_layers(model).channels, 4);
  expect_same_function(original, model);
}

}  // namespace
}  // namespace edgecompress
