#include "int8/int8_scheme.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "data/tensor_dataset.h"
#include "support/int8_schemes.h"

namespace edgecompress {
namespace {

using torch::jit::Value;

/// Two 1x1 convolutions of one input, the second ten times the first, side by side in one output.
struct Forked {
  Forked() : model(Model::from_module(module(), {{{2, 3, 4, 4}}})) {
    const at::Tensor images = at::randn({4, 3, 4, 4}, at::detail::createCPUGenerator(1));
    scheme = testing::make_int8_scheme(
        model, std::make_shared<TensorDataset>(std::vector<at::Tensor>{images}));
  }

  static torch::jit::Module module() {
    torch::jit::Module net("__torch__.Net");
    torch::jit::Module small("__torch__.Small"), large("__torch__.Large");
    small.register_parameter("weight", at::eye(3).view({3, 3, 1, 1}), false);
    large.register_parameter("weight", 10 * at::eye(3).view({3, 3, 1, 1}), false);
    net.register_module("small", small);
    net.register_module("large", large);
    net.define(
        "def forward(self, x):\n"
        "  a = torch.conv2d(x, self.small.weight)\n"
        "  b = torch.conv2d(x, self.large.weight)\n"
        "  return torch.cat([a, b], 1)\n");
    net.eval();
    return net;
  }

  const Int8Op& op_of(const std::string& layer) const {
    for (const Int8Op& op : scheme.plan.ops) {
      if (op.layer && op.layer->name == layer) return op;
    }
    throw std::out_of_range(layer);
  }
  double scale_of(const std::string& layer) const {
    return scheme.ranges.at(op_of(layer).output()).scale;
  }

  Model model;
  Int8Scheme scheme;
};

TEST(Int8Scheme, GivesWhatIsConcatenatedTheRangeOfTheWhole) {
  Forked net;
  EXPECT_NEAR(net.scale_of("large") / net.scale_of("small"), 10, 0.1);
  share_ranges_with_concatenations(net.scheme);
  const double whole = net.scheme.ranges.at(net.model.graph().outputs()[0]).scale;
  EXPECT_EQ(net.scale_of("small"), whole);
  EXPECT_EQ(net.scale_of("large"), whole);
}

TEST(Int8Scheme, LeavesLayersFloatWithTheRangesOfTheRest) {
  Forked net;
  const Int8Scheme less = net.scheme.without(net.model, [](const Layer& layer) {
    return layer.name == "small" ? std::string("too small") : "";
  });
  ASSERT_EQ(less.plan.float_layers.size(), 1u);
  EXPECT_EQ(less.plan.float_layers[0].name, "small");
  EXPECT_EQ(less.plan.float_layers[0].reason, "too small");
  for (const Value* value : less.plan.measured)
    EXPECT_EQ(less.ranges.at(value).scale, net.scheme.ranges.at(value).scale);
  EXPECT_TRUE(less.weights.count("large.weight"));
}

TEST(Int8Scheme, CarriesOverToACloneNodeByNode) {
  Forked net;
  const Model clone = net.model.clone();
  const Int8Scheme copy = net.scheme.on(clone);
  ASSERT_EQ(copy.plan.ops.size(), net.scheme.plan.ops.size());
  for (std::size_t i = 0; i < copy.plan.ops.size(); ++i) {
    const Int8Op &op = copy.plan.ops[i], &original = net.scheme.plan.ops[i];
    EXPECT_EQ(op.node->owningGraph(), &clone.graph());
    EXPECT_EQ(op.node->kind(), original.node->kind());
    EXPECT_EQ(copy.ranges.at(op.output()).scale, net.scheme.ranges.at(original.output()).scale);
  }
}

}  // namespace
}  // namespace edgecompress
