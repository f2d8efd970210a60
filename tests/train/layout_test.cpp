#include "train/layout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tiny_models.h"

namespace edgecompress {
namespace {

TEST(ChannelsLast, LaysConvolutionsOutWhileItLives) {
  const auto tiny = testing::make_tiny_model("cnn");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  const auto inputs = model.example_inputs(2);
  {
    const ChannelsLast layout(model, inputs);
    ASSERT_TRUE(layout.is_used());
    EXPECT_TRUE(model.tensor("conv1.weight").is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(layout.lay_out(inputs)[0].is_contiguous(at::MemoryFormat::ChannelsLast));
  }
  EXPECT_TRUE(model.tensor("conv1.weight").is_contiguous());
}

TEST(ChannelsLast, IsNotUsedByNetworksWithout2dConvolutions) {
  for (const char* name : {"mlp", "conv1d", "lstm"}) {
    const auto tiny = testing::make_tiny_model(name);
    Model model = Model::from_module(tiny.module, tiny.inputs);
    EXPECT_FALSE(ChannelsLast(model, model.example_inputs(2)).is_used()) << name;
  }
}

TEST(ChannelsLast, IsGivenUpIfAViewRefusesIt) {
  torch::jit::Module net("__torch__.Net");
  net.register_attribute("training", c10::BoolType::get(), false);
  net.register_parameter("weight", at::randn({4, 3, 3, 3}), false);
  net.define(R"(
def forward(self, x):
  x = torch.conv2d(x, self.weight, None, [1, 1], [1, 1], [1, 1], 1)
  return x.view([x.size(0), 4 * 8 * 8])
)");
  Model model = Model::from_module(net, {{{1, 3, 8, 8}}});
  const auto inputs = model.example_inputs(2);
  const auto expected = model.forward(inputs);
  const ChannelsLast layout(model, inputs);
  EXPECT_TRUE(model.forward(layout.lay_out(inputs))[0].equal(expected[0]));
  EXPECT_EQ(layout.is_used(), model.tensor("weight").is_contiguous(at::MemoryFormat::ChannelsLast));
}

}  // namespace
}  // namespace edgecompress
