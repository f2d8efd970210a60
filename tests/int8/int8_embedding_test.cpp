#include "int8/int8_embedding.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/util/accumulate.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/testing/file_check.h>

#include "model/runtime.h"

namespace edgecompress {
namespace {

using torch::jit::Module;
using torch::jit::testing::FileCheck;

std::string nobody(const Layer&) { return ""; }

Model model_of(const std::string& forward) {
  initialise_runtime();
  Module net("__torch__.Net");
  const auto generator = at::detail::createCPUGenerator(3);
  net.register_parameter("words", at::randn({9, 6}, generator), false);
  net.define("def look_up(self, i):\n  return torch.embedding(self.words, i, -1, False, False)\n");
  net.define("def forward(self, i):\n" + forward);
  net.eval();
  InputSpec indices{{2, 5}, "int64"};
  indices.high = 9;
  return Model::from_module(net, {indices});
}

TEST(Int8Embedding, KeepsEveryRowWithinHalfAStep) {
  const Model original = model_of("  return self.look_up(i)\n");
  Model model = original.clone();
  const auto layers = rewrite_int8_embeddings(model, nobody);
  ASSERT_EQ(layers.size(), 1);
  EXPECT_TRUE(layers[0].is_int8);
  EXPECT_TRUE(model.named_parameters().empty());
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{9}, {2, 5}, {0}, {1, 2, 3}, {}}) {
    const at::Tensor indices =
        at::arange(c10::multiply_integers(shape)).remainder(9).reshape(shape);
    const at::Tensor expected = original.forward({indices})[0], found = model.forward({indices})[0];
    ASSERT_EQ(found.sizes(), expected.sizes());
    const at::Tensor step =
        at::embedding(original.tensor("words"), indices).abs().amax(-1, true) / 127;
    EXPECT_TRUE(((found - expected).abs() <= step * 0.501).all().item<bool>());
  }
  EXPECT_THROW(model.forward({at::full({1}, 9, at::kLong)}), std::exception) << "out of the table";
}

TEST(Int8Embedding, SharesOneTableBetweenTwoReaders) {
  Model model = model_of("  return self.look_up(i) + self.look_up(i + 0)\n");
  rewrite_int8_embeddings(model, nobody);
  std::int64_t tables = 0;
  for (const auto& attribute : model.module().named_attributes())
    tables += attribute.value.isTensor() && attribute.value.toTensor().scalar_type() == at::kChar;
  EXPECT_EQ(tables, 1);
}

TEST(Int8Embedding, LeavesATableThatAnotherLayerReads) {
  Model model = model_of("  return torch.linear(self.look_up(i), self.words)\n");
  const auto layers = rewrite_int8_embeddings(model, nobody);
  ASSERT_EQ(layers.size(), 1);
  EXPECT_FALSE(layers[0].is_int8);
  EXPECT_NE(layers[0].reason.find("reads its table too"), std::string::npos) << layers[0].reason;
  FileCheck().check_not("aten::mul")->run(model.graph());
}

TEST(Int8Embedding, LeavesWhatIsRefused) {
  Model model = model_of("  return self.look_up(i)\n");
  const auto layers = rewrite_int8_embeddings(model, [](const Layer&) { return "not today"; });
  EXPECT_EQ(layers.at(0).reason, "not today");
  EXPECT_EQ(model.named_parameters().size(), 1);
}

}  // namespace
}  // namespace edgecompress
