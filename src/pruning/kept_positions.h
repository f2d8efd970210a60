// What removals left of the dimensions of a network's tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "channels/channel_groups.h"

namespace edgecompress {

/// Positions are counted as in the network before the first removal.
class KeptPositions {
 public:
  /// Takes out the units of the groups, which are of what the removals before this one left.
  void remove(const ChannelGroups& groups, const UnitChoice& removed);

  /// int64, ascending, of a dimension that had `size`.
  at::Tensor of(const std::string& tensor, std::int64_t dim, std::int64_t size) const;
  /// Whether the tensor multiplies with channels that are gone.
  bool is_consumer(const std::string& tensor) const { return consumers_.count(tensor) > 0; }

 private:
  std::map<std::pair<std::string, std::int64_t>, std::set<std::int64_t>> gone_;
  std::set<std::string> consumers_;
};

}  // namespace edgecompress
