#include "train/layer_order.h"

#include <gtest/gtest.h>

#include "support/text_network.h"

namespace edgecompress {
namespace {

using Groups = std::vector<std::vector<std::string>>;

std::vector<std::string> names_of(const Model& model) {
  std::vector<std::string> names;
  for (const auto& parameter : model.named_parameters()) names.push_back(parameter.first);
  return names;
}

/// Layers are declared in another order than they run in.
Model network() {
  return testing::make_text_network(
      {"def forward(self, x):\n"
       "  x = self.norm0(x)\n"
       "  x = torch.relu(self.norm1(self.first(x)))\n"
       "  x = x + self.second(x) * self.scale\n"
       "  return self.head(x)\n",
       {testing::linear("head", 3, 8),
        {"", {{"scale", {8}}}, ""},
        testing::layer_norm("norm1", 8),
        testing::linear("second", 8, 8, /*has_bias=*/false),
        testing::layer_norm("norm0", 5),
        testing::linear("first", 8, 5)},
       {testing::float_input({1, 5})}});
}

TEST(LayerOrder, FollowsExecutionAndKeepsNormsWithTheLayerBeforeThem) {
  const Model model = network();
  EXPECT_EQ(parameters_by_layer(model, names_of(model)),
            (Groups{{"norm0.weight", "norm0.bias", "first.weight", "first.bias", "norm1.weight",
                     "norm1.bias"},
                    {"second.weight", "scale"},
                    {"head.weight", "head.bias"}}));
}

TEST(LayerOrder, CountsOnlyLayersOfTheGivenParameters) {
  const Model model = network();
  EXPECT_EQ(parameters_by_layer(model, {"head.bias", "first.weight"}),
            (Groups{{"first.weight"}, {"head.bias"}}));
}

}  // namespace
}  // namespace edgecompress
