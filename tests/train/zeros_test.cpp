#include "train/zeros.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

TEST(PrunedPositions, AreTheExactZerosOfAMatrix) {
  const at::Tensor positions =
      pruned_positions(at::tensor({0.0F, 1.0F, -0.0F, 1e-30F}).view({2, 2}));
  EXPECT_TRUE(positions.equal(at::tensor({1, 0, 1, 0}).view({2, 2}).to(at::kBool)));
}

TEST(PrunedPositions, AreNoneInVectorsDenseWeightsAndAllZeroOnes) {
  EXPECT_FALSE(pruned_positions(at::tensor({0.0F, 1.0F})).defined());
  EXPECT_FALSE(pruned_positions(at::ones({2, 2})).defined());
  EXPECT_FALSE(pruned_positions(at::zeros({2, 2})).defined());
}

TEST(KeptZeros, MaskGradientsEvenWhereTheyAreNotFinite) {
  at::Tensor weight = at::tensor({0.0F, 2.0F}).view({1, 2}).clone().set_requires_grad(true);
  const KeptZeros zeros({weight});
  weight.mutable_grad() = at::tensor({INFINITY, 3.0F}).view({1, 2});
  zeros.mask_gradients();
  EXPECT_TRUE(weight.grad().equal(at::tensor({0.0F, 3.0F}).view({1, 2})));
}

}  // namespace
}  // namespace edgecompress
