// What must hold of channel groups, whatever the network.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "channels/channel_groups.h"

namespace edgecompress::testing {

/// Random units of random groups; of some groups none, of some all but one.
UnitChoice random_choice(const ChannelGroups& groups, std::mt19937_64& random);

/// The choice carried out on a copy, saved and loaded, against a copy in which the same units are
/// only ignored, at the example's batch size and, if the model runs with it, another: what differs,
/// or "".
std::string difference_of_pruned_and_masked(const Model& model, AttentionUnit unit,
                                            const UnitChoice& removed);

/// The same for several choices, and for both units of attention.
std::string difference_for_any_choice(const Model& model, std::uint64_t seed, int choices = 4);

/// One line a group: "conv1 x8: conv1.weight[0] conv1.bias[0] conv2.weight[1]", with "/2" after a
/// member of which a unit has two positions.
std::vector<std::string> lines_of_groups(const ChannelGroups& groups);
/// "layer: reason".
std::vector<std::string> lines_of_fixed(const ChannelGroups& groups);

}  // namespace edgecompress::testing
