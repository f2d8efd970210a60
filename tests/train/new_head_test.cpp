#include "train/new_head.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/utils.h>

#include <algorithm>

#include "model/layers.h"
#include "support/expect_error.h"
#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using testing::float_input;
using testing::make_text_network;

NewHead replace(Model& model, std::int64_t classes, const std::string& layer = "") {
  return replace_head(model, classes, layer, 3, model.example_inputs(2));
}

std::vector<at::Tensor> outputs_of(const Model& model) {
  const at::NoGradGuard no_grad;
  return model.forward(model.example_inputs(2));
}

TEST(NewHead, IsFoundInEveryFamilyOfNetworks) {
  for (const std::string& name : testing::tiny_model_names()) {
    const auto tiny = testing::make_tiny_model(name);
    Model model = Model::from_module(tiny.module, tiny.inputs);
    const NewHead head = replace(model, 7);
    EXPECT_EQ(head.outputs_before, 4) << name;
    EXPECT_EQ(outputs_of(model)[0].sizes(), (at::IntArrayRef{2, 7})) << name;
  }
}

TEST(NewHead, LeavesEveryOtherTensorAlone) {
  const auto tiny = testing::make_tiny_model("mlp");
  const Model before = Model::from_module(tiny.module, tiny.inputs);
  Model model = before.clone();
  const NewHead head = replace(model, 4);  // as many as before: fresh all the same
  EXPECT_EQ(head.layer, "fc3");
  EXPECT_EQ(head.parameters, (std::vector<std::string>{"fc3.weight", "fc3.bias"}));
  for (const auto& [name, parameter] : model.named_parameters()) {
    const bool is_head = name == "fc3.weight" || name == "fc3.bias";
    EXPECT_EQ(parameter.equal(before.tensor(name)), !is_head) << name;
  }
}

TEST(NewHead, IsDrawnAsLibTorchDrawsItsLayers) {
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  replace(model, 6);
  torch::manual_seed(3);
  const torch::nn::Linear linear(16, 6);
  EXPECT_TRUE(at::allclose(model.tensor("fc3.weight"), linear->weight, 1e-6, 1e-7));
  EXPECT_TRUE(at::allclose(model.tensor("fc3.bias"), linear->bias, 1e-6, 1e-7));
}

TEST(NewHead, CanBeAConvolutionBeforeThePooling) {
  Model model =
      make_text_network({"def forward(self, x):\n"
                         "  x = torch.relu(self.body(x))\n"
                         "  x = torch.relu(self.classifier(torch.dropout(x, 0.5, False)))\n"
                         "  x = torch.flatten(torch.adaptive_avg_pool2d(x, [1, 1]), 1)\n"
                         "  return torch.log_softmax(x / 2.0, 1)\n",
                         {testing::conv("body", {6, 3}), testing::conv("classifier", {5, 6, 1})},
                         {float_input({1, 3, 8, 8})}});
  const NewHead head = replace(model, 2);
  EXPECT_EQ(head.layer, "classifier");
  EXPECT_EQ(outputs_of(model)[0].sizes(), (at::IntArrayRef{2, 2}));
  torch::manual_seed(3);
  const torch::nn::Conv2d conv(torch::nn::Conv2dOptions(6, 2, 1));
  EXPECT_TRUE(at::allclose(model.tensor("classifier.weight"), conv->weight.to(at::kDouble), 1e-6));
  EXPECT_EQ(model.tensor("classifier.weight").scalar_type(), at::kDouble);
}

TEST(NewHead, IsFoundBehindADictionary) {
  Model model =
      make_text_network({"def forward(self, x):\n"
                         "  y = self.fc(x)\n"
                         "  return {'scores': y, 'shares': torch.softmax(y, 1)}\n",
                         {testing::linear("fc", 5, 8)},
                         {float_input({1, 8})}});
  EXPECT_EQ(replace(model, 3).layer, "fc");
  EXPECT_EQ(outputs_of(model)[1].sizes(), (at::IntArrayRef{2, 3}));
}

TEST(NewHead, OneOfSeveralMustBeNamed) {
  const testing::TextNetwork network = {
      "def forward(self, x):\n  return self.age(x), self.species(x)\n",
      {testing::linear("age", 1, 8), testing::linear("species", 5, 8, /*has_bias=*/false)},
      {float_input({1, 8})}};
  Model model = make_text_network(network);
  expect_error(
      ExitCode::kPass, "several layers: age, species", [&] { replace(model, 3); }, "head.layer");
  const NewHead head = replace(model, 3, "species");
  EXPECT_EQ(head.parameters, (std::vector<std::string>{"species.weight"}));
  EXPECT_EQ(outputs_of(model)[0].sizes(), (at::IntArrayRef{2, 1}));
  EXPECT_EQ(outputs_of(model)[1].sizes(), (at::IntArrayRef{2, 3}));
  expect_error(
      ExitCode::kPass, "no linear layer or convolution 'specis'",
      [&] { replace(model, 3, "specis"); }, "did you mean 'species'?");
}

TEST(NewHead, NamesWhatIsInTheWay) {
  Model model = make_text_network({"def forward(self, x):\n  return self.bn(self.fc(x))\n",
                                   {testing::linear("fc", 5, 8), testing::batch_norm("bn", 5)},
                                   {float_input({1, 8})}});
  expect_error(
      ExitCode::kPass, "in the way is aten::batch_norm of bn", [&] { replace(model, 3); }, "fc");
  // Named, it is tried, and the batch norm of 5 channels refuses what comes.
  expect_error(ExitCode::kPass, "with 3 outputs of fc the network can't run",
               [&] { replace(model, 3, "fc"); });
}

TEST(NewHead, RefusesALayerWhoseOutputsAreNotTheNetworks) {
  Model model =
      make_text_network({"def forward(self, x):\n"
                         "  y = torch.flatten(self.conv(x), 1)\n"
                         "  return torch.reshape(self.fc(y), [-1, 5])\n",
                         {testing::conv("conv", {2, 3}), testing::linear("fc", 5, 128)},
                         {float_input({1, 3, 8, 8})}});
  // The shape of the reshape is constant: 2 samples of 10 classes are 4 of 5.
  expect_error(ExitCode::kPass, "outputs are [4, 5] instead of [2, 5]",
               [&] { replace(model, 10); });
}

TEST(NewHead, RefusesAConvolutionInGroups) {
  Model model = make_text_network({"def forward(self, x):\n  return self.conv(x)\n",
                                   {testing::conv("conv", {4, 4, 1, 2})},
                                   {float_input({1, 4, 8, 8})}});
  expect_error(ExitCode::kPass, "conv is a convolution in groups", [&] { replace(model, 2); });
}

TEST(NewHead, RefusesAWeightThatAnotherLayerShares) {
  Model model = make_text_network(
      {"def forward(self, x):\n  return torch.linear(torch.embedding(self.words, x), self.words)\n",
       {{"", {{"words", {9, 4}}}, ""}},
       {testing::index_input({1, 5}, 9)}});
  expect_error(ExitCode::kPass, "shares its weight with aten::embedding",
               [&] { replace(model, 3); });
}

}  // namespace
}  // namespace edgecompress
