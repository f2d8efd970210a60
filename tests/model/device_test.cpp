#include "model/device.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/cuda.h>

#include "support/expect_error.h"
#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::expect_error;

TEST(Device, CudaThatIsNotThereIsAUsageError) {
  EXPECT_EQ(find_device("cpu"), at::kCPU);
  if (torch::cuda::is_available()) {
    EXPECT_EQ(find_device("auto"), at::Device(at::kCUDA, 0));
    EXPECT_EQ(find_device("cuda"), at::Device(at::kCUDA, 0));
  } else {
    EXPECT_EQ(find_device("auto"), at::kCPU);
    expect_error(
        ExitCode::kUsage, "--device cuda", [] { find_device("cuda"); }, "--device cpu");
  }
}

/// The meta device has shapes but no numbers, and every LibTorch has it; what can run there is
/// little.
TEST(Device, TakesAllTensorsOfANetworkAlong) {
  for (const std::string& name : testing::tiny_model_names()) {
    const auto tiny = testing::make_tiny_model(name);
    Model model = Model::from_module(tiny.module, tiny.inputs);
    const OnDevice on_device(model, at::kMeta);
    for (const auto& parameter : model.module().named_parameters(/*recurse=*/true)) {
      EXPECT_TRUE(parameter.value.device().is_meta()) << name << " " << parameter.name;
    }
    for (const auto& buffer : model.module().named_buffers(/*recurse=*/true)) {
      EXPECT_TRUE(buffer.value.device().is_meta()) << name << " " << buffer.name;
    }
  }
}

TEST(Device, MovesConstantsAndWhatTheGraphMakes) {
  Model model = testing::make_text_network(
      {"def forward(self, x):\n"
       "  start = torch.zeros([x.size(0), 3], dtype=x.dtype, device=torch.device('cpu'))\n"
       "  return self.fc(x) + start\n",
       {testing::linear("fc", 3, 8)},
       {testing::float_input({1, 8})}});
  const OnDevice on_device(model, at::kMeta);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(model.forward(on_device.moved(model.example_inputs(2)))[0].device().is_meta());
}

TEST(Device, TiedWeightsStayOne) {
  Model model = testing::make_text_network(
      {"def forward(self, x):\n  return torch.linear(torch.embedding(self.words, x), self.words)\n",
       {{"", {{"words", {9, 4}}}, ""}},
       {testing::index_input({1, 5}, 9)}});
  const bool trains = model.tensor("words").requires_grad();
  {
    const OnDevice on_device(model, at::kMeta);
    EXPECT_TRUE(model.tensor("words").device().is_meta());
    EXPECT_EQ(model.tensor("words").requires_grad(), trains);
  }
}

TEST(Device, TheCpuIsWhereItIsAlready) {
  const auto tiny = testing::make_tiny_model("mlp");
  Model model = Model::from_module(tiny.module, tiny.inputs);
  const at::Tensor weight = model.tensor("fc1.weight");
  const OnDevice on_device(model, at::kCPU);
  EXPECT_TRUE(model.tensor("fc1.weight").is_same(weight));
}

}  // namespace
}  // namespace edgecompress
