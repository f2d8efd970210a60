#include "channels/channel_costs.h"

#include <gtest/gtest.h>

#include "model/layers.h"
#include "support/tiny_models.h"
#include "util/random.h"

namespace edgecompress {
namespace {

/// What the model itself costs.
ChannelCost measured(const Model& model) {
  ChannelCost cost;
  for (const NodeMacs& node : count_macs(model, model.example_inputs(0))) cost.macs += node.macs;
  for (const auto& [name, tensor] : model.named_parameters()) cost.parameters += tensor.numel();
  return cost;
}

/// Each unit with probability 1/2, but never all of a group.
UnitChoice random_choice(const ChannelGroups& groups, Random& random) {
  UnitChoice choice;
  for (const ChannelGroup& group : groups.groups) {
    choice.emplace_back();
    for (std::size_t unit = 0; unit + 1 < group.units.size(); ++unit) {
      if (random.coin()) choice.back().push_back(static_cast<std::int64_t>(unit));
    }
  }
  return choice;
}

TEST(ChannelCosts, AreThoseOfTheModelWithoutTheChannels) {
  const at::NoGradGuard no_grad;
  Random random(1);
  for (const std::string& name : testing::tiny_model_names()) {
    for (const auto unit : {AttentionUnit::kHeads, AttentionUnit::kWidth}) {
      const auto tiny = testing::make_tiny_model(name);
      Model model = Model::from_module(tiny.module, tiny.inputs);
      const ChannelGroups groups = find_channel_groups(model, unit);
      const ChannelCosts costs(model, groups);
      const UnitChoice nothing(groups.groups.size());
      EXPECT_EQ(costs.without(nothing).macs, measured(model).macs) << name;
      EXPECT_EQ(costs.without(nothing).parameters, measured(model).parameters) << name;

      const UnitChoice choice = random_choice(groups, random);
      const ChannelCost expected = costs.without(choice);
      remove_channels(model, groups, choice);
      EXPECT_EQ(expected.macs, measured(model).macs) << name;
      EXPECT_EQ(expected.parameters, measured(model).parameters) << name;
    }
  }
}

}  // namespace
}  // namespace edgecompress
