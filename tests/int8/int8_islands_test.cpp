#include "int8/int8_islands.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

std::vector<std::string> islands_of(const std::string& forward) {
  torch::jit::Module net("__torch__.Net");
  net.register_parameter("weight", at::eye(6), false);
  net.define("def fc(self, x):\n  return torch.linear(x, self.weight)\n");
  net.define("def forward(self, x):\n" + forward);
  net.eval();
  Model model = Model::from_module(net, {{{2, 3, 6}}});
  const Int8Plan plan = plan_static_int8(
      model, [](const Layer&) { return ""; }, [](const torch::jit::Value*) { return true; });
  std::vector<std::string> found;
  for (const FloatIslandOp& op : find_float_islands(model, plan)) found.push_back(op.op);
  return found;
}

using Ops = std::vector<std::string>;

TEST(Int8Islands, AreFloatOpsBetweenInt8Ops) {
  EXPECT_EQ(islands_of("  return self.fc(torch.softmax(self.fc(x), -1))\n"), Ops{"aten::softmax"});
  EXPECT_EQ(islands_of("  y = self.fc(x)\n"
                       "  return self.fc(torch.cumsum(torch.log2(torch.abs(y) + 1.0), 1))\n"),
            (Ops{"aten::abs", "aten::add", "aten::log2", "aten::cumsum"}));
}

TEST(Int8Islands, AreNotWhatComesBeforeOrAfter) {
  EXPECT_EQ(islands_of("  return torch.softmax(self.fc(torch.log2(torch.abs(x) + 1.0)), -1)\n"),
            Ops{});
}

TEST(Int8Islands, AreNotQuestionsAboutSizes) {
  EXPECT_EQ(islands_of("  y = self.fc(x)\n"
                       "  return self.fc(torch.reshape(y, [y.size(0), -1, 6]))\n"),
            Ops{});
}

TEST(Int8Islands, NameTheLayerBefore) {
  torch::jit::Module net("__torch__.Net");
  net.register_parameter("first", at::eye(6), false);
  net.register_parameter("second", at::eye(6), false);
  net.define(
      "def forward(self, x):\n"
      "  return torch.linear(torch.softmax(torch.linear(x, self.first), -1), self.second)\n");
  Model model = Model::from_module(net, {{{2, 6}}});
  const Int8Plan plan = plan_static_int8(
      model, [](const Layer&) { return ""; }, [](const torch::jit::Value*) { return true; });
  EXPECT_EQ(find_float_islands(model, plan).at(0).after, "first");
}

}  // namespace
}  // namespace edgecompress
