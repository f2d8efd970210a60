#include "train/batch_norm_estimation.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "support/text_network.h"

namespace edgecompress {
namespace {

using namespace testing;

TEST(BatchNormEstimation, TakesTheStatisticsOfTheData) {
  Model model =
      make_text_network({"def forward(self, x):\n  return self.second(torch.relu(self.first(x)))\n",
                         {batch_norm("first", 3), batch_norm("second", 3)},
                         {float_input({2, 3, 4, 4})}});
  const at::Tensor inputs =
      at::randn({64, 3, 4, 4}, at::detail::createCPUGenerator(2), at::kDouble) * 3 + 5;
  Progress silent;
  const auto data = std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs});
  const BatchNormEstimation done = estimate_batch_norms(model, data, 64, silent);
  EXPECT_EQ(done.batch_norms, 2);
  EXPECT_GT(done.largest_shift, 1);
  const at::Tensor channels = inputs.transpose(0, 1).flatten(1);
  EXPECT_TRUE(at::allclose(model.tensor("first.running_mean"), channels.mean(1)));
  EXPECT_TRUE(at::allclose(model.tensor("first.running_var"), channels.var(1)));
  // The second sees what the first makes of the data by then, so what it makes is standard.
  const at::Tensor made = model.forward({inputs})[0].transpose(0, 1).flatten(1);
  EXPECT_TRUE(at::allclose(made.mean(1), model.tensor("second.bias").detach(), 0, 1e-3));
  EXPECT_TRUE(at::allclose(made.std(1), model.tensor("second.weight").detach(), 1e-2));
}

TEST(BatchNormEstimation, LeavesNetworksWithoutBatchNormsAlone) {
  Model model = make_text_network(
      {"def forward(self, x):\n  return self.a(x)\n", {linear("a", 3, 4)}, {float_input({2, 4})}});
  Progress silent;
  const auto data =
      std::make_shared<TensorDataset>(std::vector<at::Tensor>{at::zeros({4, 4}, at::kDouble)});
  EXPECT_EQ(estimate_batch_norms(model, data, 2, silent).batch_norms, 0);
}

}  // namespace
}  // namespace edgecompress
