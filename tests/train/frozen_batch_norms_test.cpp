#include "train/frozen_batch_norms.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tiny_models.h"

namespace edgecompress {
namespace {

TEST(FrozenBatchNorms, NormaliseAsInEvalModeWhileTheOthersTrain) {
  const auto tiny = testing::make_tiny_model("cnn");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  const std::string graph = model.graph().toString(false);
  const auto inputs = model.example_inputs(8);
  const at::NoGradGuard no_grad;
  const at::Tensor in_eval = model.forward(inputs)[0];
  {
    const FrozenBatchNorms all(model, [](const Layer&) { return true; });
    EXPECT_EQ(all.size(), 2U);
    model.set_training(true);
    EXPECT_TRUE(model.forward(inputs)[0].equal(in_eval));
  }
  {
    const FrozenBatchNorms first(model, [](const Layer& layer) { return layer.name == "bn1"; });
    EXPECT_EQ(first.size(), 1U);
    const at::Tensor frozen = model.tensor("bn1.running_mean").clone();
    const at::Tensor moving = model.tensor("bn2.running_mean").clone();
    EXPECT_FALSE(model.forward(inputs)[0].equal(in_eval));
    EXPECT_TRUE(model.tensor("bn1.running_mean").equal(frozen));
    EXPECT_FALSE(model.tensor("bn2.running_mean").equal(moving));
  }
  const at::Tensor before = model.tensor("bn1.running_mean").clone();
  model.forward(inputs);
  EXPECT_FALSE(model.tensor("bn1.running_mean").equal(before)) << "it trains again";
  EXPECT_EQ(model.graph().toString(false), graph);
}

}  // namespace
}  // namespace edgecompress
