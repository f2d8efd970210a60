// Residual blocks of networks that stock PyTorch saved.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "channels/residual_blocks.h"
#include "model/layers.h"
#include "model/runtime.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

struct Expected {
  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<std::string> blocks;
};

std::vector<Expected> networks() {
  const std::string layer = "encoder.layers.encoder_layer_";
  return {
      {"resnet18", {2, 3, 64, 64}, {"layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"}},
      {"vit",
       {2, 3, 32, 32},
       {layer + "0.ln_1", layer + "0.ln_2", layer + "1.ln_1", layer + "1.ln_2"}},
      {"convnext",
       {2, 3, 32, 32},
       {"features.1.0", "features.1.1", "features.3.0", "features.3.1"}}};
}

class ResidualBlocksTorchvision
    : public ::testing::TestWithParam<std::tuple<Expected, std::string>> {};

TEST_P(ResidualBlocksTorchvision, AreThoseOfTheArchitectureAndCanGo) {
  initialise_runtime();
  const at::NoGradGuard no_grad;
  const auto& [network, form] = GetParam();
  const testing::TemporaryFolder folder;
  const std::string command = "/usr/bin/python3 -W ignore " EDGECOMPRESS_SOURCE_DIR
                              "/tests/support/make_torchvision_models.py " +
                              folder.path().string() + " " + network.name + " 2>&1";
  if (std::system(command.c_str()) != 0) GTEST_SKIP() << "stock PyTorch could not save the network";
  Model model = Model::load(folder.path() / (network.name + "_" + form + ".pt"),
                            {{network.shape, "float32", 2}});
  const auto blocks = find_residual_blocks(model);
  std::vector<std::string> names;
  for (const ResidualBlock& block : blocks) names.push_back(block.name);
  EXPECT_THAT(names, ::testing::ElementsAreArray(network.blocks));

  const auto is_in_a_block = [&](const std::string& parameter) {
    for (const ResidualBlock& block : blocks) {
      for (const std::string& layer : block.layers) {
        if (parameter.rfind(layer + ".", 0) == 0) return true;
      }
    }
    return false;
  };
  std::vector<std::string> outside, left;
  for (const auto& [name, tensor] : model.named_parameters()) {
    if (!is_in_a_block(name)) outside.push_back(name);
  }
  remove_residual_blocks(model, blocks);
  for (const auto& [name, tensor] : model.named_parameters()) left.push_back(name);
  EXPECT_EQ(left, outside);
  for (const std::int64_t batch : {2, 3}) {
    const at::Tensor output = model.forward(model.example_inputs(batch)).at(0);
    EXPECT_EQ(output.sizes(), (at::IntArrayRef{batch, 10}));
    EXPECT_TRUE(at::isfinite(output).all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(All, ResidualBlocksTorchvision,
                         ::testing::Combine(::testing::ValuesIn(networks()),
                                            ::testing::Values("traced", "scripted")),
                         [](const auto& test) {
                           return std::get<0>(test.param).name + "_" + std::get<1>(test.param);
                         });

}  // namespace
}  // namespace edgecompress
