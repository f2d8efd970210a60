#include "eval/thread_dependence.h"

#include <gtest/gtest.h>

#include "support/text_network.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

using testing::float_input;
using testing::make_text_network;

Model network(const std::string& expression, const std::vector<std::int64_t>& shape) {
  return make_text_network(
      {"def forward(self, x):\n  return " + expression + "\n", {}, {float_input(shape)}});
}

TEST(ThreadDependence, OperatorsThatTouchEachValueByItselfHaveNone) {
  const Model model = network("torch.relu(x) * 2.5 + torch.sigmoid(x)", {64, 512});
  EXPECT_TRUE(thread_dependent_operators(model, 64, 2, /*gradients=*/true).empty());
}

TEST(ThreadDependence, RandomOperatorsAreNotCounted) {
  const Model model = network("torch.rand_like(x) + x", {64, 512});
  EXPECT_TRUE(thread_dependent_operators(model, 64, 2, /*gradients=*/false).empty());
}

/// A sum over everything is the simplest of those that LibTorch splits: a half a thread.
TEST(ThreadDependence, ASumOverAllValuesIsFound) {
  const Model model = network("torch.sum(x * 1.1)", {512, 1024});
  EXPECT_EQ(thread_dependent_operators(model, 512, 2, /*gradients=*/false),
            std::vector<std::string>{"aten::sum"});
}

TEST(ThreadDependence, WithoutInputsNothingCanBeSaid) {
  const auto tiny = testing::make_tiny_model("mlp");
  const Model model = Model::from_module(tiny.module, {});
  EXPECT_TRUE(thread_dependent_operators(model, 1, 2, /*gradients=*/true).empty());
}

}  // namespace
}  // namespace edgecompress
