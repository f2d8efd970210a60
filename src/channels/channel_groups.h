// Channel groups: what has to go together when channels are removed (Fang et al. 2023, "DepGraph").
//
// A unit is the least that can be removed: one channel, or what stands or falls with it (a group of
// a grouped convolution, a head). Units that touch the same dimensions of the same tensors make a
// group; its members say which positions of which dimension belong to each unit.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "channels/channel_flow.h"
#include "model/model.h"

namespace edgecompress {

struct ChannelMember {
  std::string tensor;  ///< dotted name of a parameter or buffer
  std::int64_t dim = 0;
  ChannelAxis::Role role = ChannelAxis::Role::kFollows;
  std::string layer;
  /// For each unit its positions along `dim`, ascending.
  std::vector<std::vector<std::int64_t>> positions;
};

struct ChannelGroup {
  std::string name;  ///< of the first layer that produces its channels
  std::vector<ChannelMember> members;
  std::vector<Cell> units;  ///< the cell of each
};

/// A layer whose output channels can't be removed.
struct FixedLayer {
  std::string layer, reason;
};

/// Of a model as it stands; worthless after its graph or its tensors' shapes have changed.
struct ChannelGroups {
  std::vector<ChannelGroup> groups;
  std::vector<FixedLayer> fixed;
  ChannelFlow flow;
  RecordedRun run;
  /// The same model run with another batch size, if it accepts one.
  std::optional<RecordedRun> other_run;
};

/// The model needs example inputs. Throws Error(kPass) if it has none.
ChannelGroups find_channel_groups(const Model& model, AttentionUnit unit = AttentionUnit::kHeads);

/// Units to be removed, by index, ascending: one list a group.
using UnitChoice = std::vector<std::vector<std::int64_t>>;

/// Takes the units out of every tensor and every size in the graph. At least one unit of each group
/// must stay. Throws Error(kPass) if a size can't be expressed.
void remove_channels(Model& model, const ChannelGroups& groups, const UnitChoice& removed);

/// `model`: the one that the groups are of, or a clone of it. Leaves every shape as it is, but lets
/// nothing read the units, so that the outputs are those which remove_channels gives: weights that
/// consume them become zero, products of activations meet zeros there, and norms over channels take
/// in the others only.
void mask_channels(Model& model, const ChannelGroups& groups, const UnitChoice& removed);

}  // namespace edgecompress
