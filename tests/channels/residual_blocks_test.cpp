#include "channels/residual_blocks.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/layers.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::conv;
using ::testing::ElementsAre;
using testing::float_input;
using testing::layer_norm;
using testing::linear;
using testing::make_text_network;

std::vector<std::string> names_of(const std::vector<ResidualBlock>& blocks) {
  std::vector<std::string> names;
  for (const ResidualBlock& block : blocks) names.push_back(block.name);
  return names;
}

std::vector<std::string> blocks_of(const testing::TextNetwork& network) {
  return names_of(find_residual_blocks(make_text_network(network)));
}

Model without(const Model& model, const std::vector<std::string>& names) {
  Model smaller = model.clone();
  std::vector<ResidualBlock> removed;
  for (const ResidualBlock& block : find_residual_blocks(smaller)) {
    if (std::find(names.begin(), names.end(), block.name) != names.end()) removed.push_back(block);
  }
  EXPECT_EQ(removed.size(), names.size());
  remove_residual_blocks(smaller, removed);
  return smaller;
}

std::vector<std::string> parameters_of(const Model& model) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : model.named_parameters()) names.push_back(name);
  return names;
}

/// The smaller network, also after a round trip through a file, is the shorter text at any batch
/// size; the shorter text's network has the weights that are left.
void expect_is(const Model& smaller, Model shorter) {
  const at::NoGradGuard no_grad;
  EXPECT_EQ(parameters_of(smaller), parameters_of(shorter));
  for (const std::string& name : parameters_of(shorter))
    shorter.set_tensor(name, smaller.tensor(name));
  const testing::TemporaryFolder folder;
  smaller.save(folder.path() / "smaller.pt");
  torch::jit::Module stored = load_as_stored(folder.path() / "smaller.pt");
  stored.eval();
  for (const std::int64_t batch : {1, 2, 5}) {
    const auto inputs = smaller.example_inputs(batch, 4);
    const at::Tensor expected = shorter.forward(inputs).at(0);
    EXPECT_TRUE(smaller.forward(inputs).at(0).allclose(expected, 1e-9, 1e-12));
    const auto reloaded = flatten_outputs(stored.forward({inputs.begin(), inputs.end()}));
    EXPECT_TRUE(reloaded.at(0).allclose(expected, 1e-9, 1e-12));
  }
}

// Post-activation blocks; the second has a shortcut that changes the width.
testing::TextNetwork resnet(const std::string& forward) {
  return {
      "def forward(self, x):\n  x = torch.relu(self.stem(x))\n" + forward +
          "  return self.fc(torch.mean(x, [2, 3]))\n",
      {conv("stem", {4, 3}), conv("a1", {4, 4}), testing::batch_norm("an", 4), conv("a2", {4, 4}),
       conv("b1", {8, 4, 3, 1, 2}), conv("b2", {8, 8}), conv("down", {8, 4, 1, 1, 2}),
       conv("c1", {8, 8}), conv("c2", {8, 8}), linear("fc", 3, 8)},
      {float_input({2, 3, 8, 8})}};
}
const char* const kFirst = "  x = torch.relu(x + self.a2(torch.relu(self.an(self.a1(x)))))\n";
const char* const kNarrowing = "  x = torch.relu(self.b2(torch.relu(self.b1(x))) + self.down(x))\n";
const char* const kLast = "  y = self.c2(torch.relu(self.c1(x)))\n  y += x\n  x = torch.relu_(y)\n";

TEST(ResidualBlocks, OfAResNetAreThoseWithoutADownsamplingShortcut) {
  const std::string all = std::string(kFirst) + kNarrowing + kLast;
  EXPECT_THAT(blocks_of(resnet(all)), ElementsAre("a1", "c1"));
}

TEST(ResidualBlocks, LeaveTheNetworkWithoutThem) {
  const Model whole = make_text_network(resnet(std::string(kFirst) + kNarrowing + kLast));
  expect_is(without(whole, {"a1"}), make_text_network(resnet(std::string(kNarrowing) + kLast)));
  expect_is(without(whole, {"c1"}), make_text_network(resnet(std::string(kFirst) + kNarrowing)));
  const Model bare = without(whole, {"a1", "c1"});
  expect_is(bare, make_text_network(resnet(kNarrowing)));
  int activations = 0;
  for (const auto* node : bare.graph().nodes()) activations += op_of(node) == "aten::relu";
  EXPECT_EQ(activations, 3) << "those behind the stem, b1 and the sum";
}

testing::TextNetwork transformer(const std::string& forward) {
  return {"def forward(self, x):\n  x = self.embed(x)\n" + forward +
              "  return self.head(torch.mean(x, [1]))\n",
          {linear("embed", 8, 6), layer_norm("norm1", 8), linear("q", 8, 8), linear("k", 8, 8),
           linear("v", 8, 8), linear("proj", 8, 8), layer_norm("norm2", 8), linear("fc1", 16, 8),
           linear("fc2", 8, 16), linear("head", 3, 8)},
          {float_input({2, 5, 6})}};
}
const char* const kAttention =
    "  y = self.norm1(x)\n"
    "  a = torch.softmax(torch.matmul(self.q(y), self.k(y).transpose(1, 2)) * 0.35, -1)\n"
    "  x = x + torch.dropout(self.proj(torch.matmul(a, self.v(y))), 0.1, False)\n";
const char* const kMlp = "  x = self.fc2(torch.gelu(self.fc1(self.norm2(x)))) + x\n";

TEST(ResidualBlocks, OfATransformerAreTheHalvesOfItsLayers) {
  const Model whole = make_text_network(transformer(std::string(kAttention) + kMlp));
  EXPECT_THAT(names_of(find_residual_blocks(whole)), ElementsAre("norm1", "norm2"));
  expect_is(without(whole, {"norm1"}), make_text_network(transformer(kMlp)));
  expect_is(without(whole, {"norm2"}), make_text_network(transformer(kAttention)));
  expect_is(without(whole, {"norm1", "norm2"}), make_text_network(transformer("")));
}

TEST(ResidualBlocks, OfPostNormLeaveTheNorm) {
  const auto network = [](const std::string& sum) {
    return testing::TextNetwork{"def forward(self, x):\n  return self.norm(" + sum + ")\n",
                                {linear("fc", 6, 6), layer_norm("norm", 6)},
                                {float_input({2, 6})}};
  };
  const Model whole = make_text_network(network("x + torch.relu(self.fc(x))"));
  expect_is(without(whole, {"fc"}), make_text_network(network("x")));
}

TEST(ResidualBlocks, MayScaleTheirBranchButNotTheirInput) {
  const auto network = [](const std::string& sum) {
    return testing::TextNetwork{"def forward(self, x):\n  y = self.fc(x)\n  return " + sum + "\n",
                                {linear("fc", 6, 6), {"", {{"gamma", {6}}}, ""}},
                                {float_input({2, 6})}};
  };
  EXPECT_THAT(blocks_of(network("x + self.gamma * y")), ElementsAre("fc"));
  EXPECT_THAT(blocks_of(network("torch.add(x, y, alpha=0.5)")), ElementsAre("fc"));
  EXPECT_THAT(blocks_of(network("torch.add(y, x, alpha=0.5)")), ElementsAre());
  EXPECT_THAT(blocks_of(network("x * 2 + y")), ElementsAre());
}

TEST(ResidualBlocks, NeedLayersOfTheirOwnAndTheSameSize) {
  const auto network = [](const std::string& body) {
    return testing::TextNetwork{"def forward(self, x):\n" + body,
                                {linear("fc", 6, 6), linear("one", 1, 6)},
                                {float_input({2, 6})}};
  };
  EXPECT_THAT(blocks_of(network("  return self.fc(x + torch.tanh(x))\n")), ElementsAre());
  EXPECT_THAT(blocks_of(network("  y = self.fc(x)\n  return (x + y) * y\n")), ElementsAre());
  EXPECT_THAT(blocks_of(network("  return x + self.one(x)\n")), ElementsAre("one"));
  EXPECT_THAT(blocks_of(network("  x = self.one(x)\n  return x + self.fc(x.expand(-1, 6))\n")),
              ElementsAre());
}

TEST(ResidualBlocks, MayLieWithinOthers) {
  const testing::TextNetwork network = {
      "def forward(self, x):\n"
      "  y = self.down(x)\n"
      "  y = y + self.inner(y)\n"
      "  return x + self.up(y)\n",
      {linear("down", 3, 6), linear("inner", 3, 3), linear("up", 6, 3)},
      {float_input({2, 6})}};
  const Model whole = make_text_network(network);
  EXPECT_THAT(names_of(find_residual_blocks(whole)), ElementsAre("inner", "down"));
  EXPECT_THAT(parameters_of(without(whole, {"inner", "down"})), ElementsAre());
}

TEST(BlockInfluence, IsOneMinusTheCosineOfWhatGoesInAndWhatComesOut) {
  Model model = make_text_network({"def forward(self, x):\n  return x + self.fc(x)\n",
                                   {linear("fc", 2, 2, false)},
                                   {float_input({2, 2})}});
  // x + f(x) = (x0 - x1, x0 + x1), turned by 45 degrees; then one sample is kept as it is.
  model.set_tensor("fc.weight", at::tensor({0.0, -1.0, 1.0, 0.0}, at::kDouble).view({2, 2}));
  const auto blocks = find_residual_blocks(model);
  ASSERT_EQ(blocks.size(), 1U);
  BlockInfluence influence(model, blocks);
  influence.observe({at::tensor({1.0, 2.0, -3.0, 0.5}, at::kDouble).view({2, 2})});
  EXPECT_NEAR(influence.result()[0], 1 - std::sqrt(0.5), 1e-6);
  influence.observe({at::zeros({2, 2}, at::kDouble)});
  EXPECT_NEAR(influence.result()[0], (1 - std::sqrt(0.5)) / 2, 1e-6);
}

TEST(BlockInfluence, LooksBehindTheActivationThatBothEndsHave) {
  const Model model = make_text_network(resnet(std::string(kFirst) + kNarrowing));
  const auto blocks = find_residual_blocks(model);
  const auto inputs = model.example_inputs(3, 9);
  BlockInfluence influence(model, blocks);
  influence.observe(inputs);

  const auto conv_of = [&](const at::Tensor& x, const std::string& layer) {
    return at::conv2d(x, model.tensor(layer + ".weight"), model.tensor(layer + ".bias"), 1, 1);
  };
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::relu(conv_of(inputs[0], "stem"));
  const at::Tensor inner = at::batch_norm(conv_of(x, "a1"), model.tensor("an.weight"),
                                          model.tensor("an.bias"), model.tensor("an.running_mean"),
                                          model.tensor("an.running_var"), false, 0.1, 1e-5, true);
  const at::Tensor y = at::relu(x + conv_of(at::relu(inner), "a2"));
  const at::Tensor cosine = at::cosine_similarity(x.flatten(1), y.flatten(1), 1);
  EXPECT_NEAR(influence.result()[0], 1 - cosine.mean().item<double>(), 1e-5);
}

TEST(BlockInfluence, NamesABlockThroughWhichPassesWhatIsNotFinite) {
  const Model model = make_text_network({"def forward(self, x):\n  return x + self.fc(x)\n",
                                         {linear("fc", 2, 2)},
                                         {float_input({2, 2})}});
  const auto blocks = find_residual_blocks(model);
  for (const double damaged :
       {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    BlockInfluence influence(model, blocks);
    influence.observe({at::ones({2, 2}, at::kDouble)});
    influence.observe({at::tensor({1.0, 1.0, damaged, 1.0}, at::kDouble).view({2, 2})});
    testing::expect_error(ExitCode::kPass, "'fc'", [&] { influence.result(); });
  }
}

}  // namespace
}  // namespace edgecompress
