// Which units of the channel groups go: from how important each is to a choice within limits.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "channels/channel_groups.h"
#include "channels/channel_importance.h"

namespace edgecompress {

enum class ChannelRanking {
  kGroup,      ///< each group on its own: all lose the same share
  kGlobal,     ///< all groups in one list
  kIsomorphic  ///< groups of the same structure in one list (Fang et al. 2024, "Isomorphic
               ///< Pruning")
};

/// What may go of one group.
struct GroupLimits {
  std::int64_t kept_units = 1;  ///< at least
  std::int64_t round_to = 1;    ///< what is left has a multiple of so many channels

  /// Of a group that loses nothing and counts for nothing.
  static GroupLimits closed() { return {std::numeric_limits<std::int64_t>::max(), 1}; }
  bool is_closed() const { return kept_units == closed().kept_units; }
};

/// What may go of any group.
struct SelectionLimits {
  double max_ratio = 0.9;     ///< the largest share of its units that a group loses
  std::int64_t minimum = 1;   ///< units of each group that stay
  std::int64_t round_to = 1;  ///< what is left of a group has a multiple of so many channels

  GroupLimits of_group(std::int64_t units) const;
};

/// Channels that a unit stands for: its positions in the dimension where it has the fewest.
std::int64_t channels_per_unit(const ChannelGroup& group);

/// The order in which units go. In a list, ranked by importance (ties by group and index), a unit
/// is due at the share of the list's channels that stand before its middle, so that a head weighs
/// as all its channels do; where each unit stands for as many, rank r (from 0) of n is due at
/// (r + 1/2) / n. The lists are merged by this share.
///
/// Importance is not divided by channels or parameters: it tells how a unit compares with the
/// others of its group (channel_importance.h), which does not grow with its size.
class RemovalOrder {
 public:
  /// Scores and limits: one each group.
  RemovalOrder(const ChannelGroups& groups, const UnitScores& scores, ChannelRanking ranking,
               std::vector<GroupLimits> limits);

  std::int64_t units() const { return static_cast<std::int64_t>(order_.size()); }
  /// What goes when the first `count` units are due. A group that they would bring below its limits
  /// keeps its most important units; what it keeps is rounded to the nearest multiple that the
  /// limits allow (of two as near, the larger). Never shrinks as `count` grows.
  UnitChoice first(std::int64_t count) const;
  /// How many units are due at the share `ratio`.
  std::int64_t due_at(double ratio) const;

 private:
  struct Entry {
    double share;
    std::size_t group;
    std::int64_t unit;
  };
  std::int64_t within_limits(std::size_t group, std::int64_t count) const;

  std::vector<Entry> order_;
  std::vector<std::vector<std::int64_t>> ranked_;  // of each group, least important first
  std::vector<std::int64_t> channels_;             // per unit, of each group
  std::vector<GroupLimits> limits_;
};

}  // namespace edgecompress
