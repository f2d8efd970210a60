// What a network costs, and how wide it is, once units of its channel groups are gone: told without
// removing them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "channels/channel_groups.h"
#include "model/model.h"

namespace edgecompress {

struct ChannelCost {
  std::int64_t macs = 0;        ///< of one run on the example input
  std::int64_t parameters = 0;  ///< elements of all named parameters
};

/// Knows every tensor of the recorded run by which units its positions belong to, so that a choice
/// costs a count and not a run. `groups` must outlive it.
class ChannelCosts {
 public:
  ChannelCosts(const Model& model, const ChannelGroups& groups);

  ChannelCost without(const UnitChoice& removed) const;

 private:
  /// The sizes of a tensor; of each dimension that can shrink, the unit of each position.
  struct Shape {
    std::vector<std::int64_t> sizes;
    std::vector<std::vector<std::int32_t>> units;
    bool can_shrink() const;
    std::vector<std::int64_t> without(const std::vector<bool>& is_removed) const;
  };
  /// A step of the run whose inputs or outputs shrink, with the shapes of all its tensors.
  struct Step {
    const RecordedStep* recorded;
    std::vector<std::vector<Shape>> inputs, outputs;
  };
  class Shapes;

  std::vector<std::size_t> first_unit_;  // of each group
  std::size_t units_ = 0;
  std::vector<Step> steps_;
  std::vector<Shape> parameters_;
  ChannelCost rest_;  // of what can't shrink
};

/// Output channels of a layer; those of an RNN are its hidden units, not its gates.
struct LayerWidth {
  std::string layer;
  std::int64_t before = 0, after = 0;
};
/// Of every layer that produces channels, in execution order.
std::vector<LayerWidth> layer_widths(const ChannelGroups& groups, const UnitChoice& removed);

}  // namespace edgecompress
