#include "pruning/damage_meter.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "support/text_network.h"

namespace edgecompress {
namespace {

TEST(DamageMeter, ComparesOutputsAndLeavesTheModelAsItWas) {
  Model model = testing::make_text_network({"def forward(self, x):\n  return self.a(x)\n",
                                            {testing::linear("a", 3, 2, /*has_bias=*/false)},
                                            {testing::float_input({1, 2})}});
  const at::Tensor weight = model.tensor("a.weight").detach().clone();
  DataSets data;
  data.calibration = std::make_shared<TensorDataset>(
      std::vector<at::Tensor>{at::tensor({1.0, 2.0, -1.0, 0.5}).reshape({2, 2})});
  DamageMeter meter(model, data, 64);
  EXPECT_EQ(meter.damage({}), 0);
  EXPECT_NEAR(meter.damage({{"a.weight", 1.5 * weight}}), 0.25, 1e-12);
  EXPECT_TRUE(model.tensor("a.weight").equal(weight));
}

}  // namespace
}  // namespace edgecompress
