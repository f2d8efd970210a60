#include "channels/channel_selection.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace edgecompress {
namespace {

/// What makes two groups alike: the same kinds of dimensions, touched in the same way.
using Structure =
    std::vector<std::tuple<std::string, std::int64_t, ChannelAxis::Role, std::size_t>>;

Structure structure_of(const ChannelGroup& group) {
  Structure structure;
  for (const ChannelMember& member : group.members) {
    structure.emplace_back(member.tensor.substr(member.tensor.rfind('.') + 1), member.dim,
                           member.role, member.positions[0].size());
  }
  return structure;
}

}  // namespace

std::int64_t channels_per_unit(const ChannelGroup& group) {
  std::size_t fewest = group.members[0].positions[0].size();
  for (const ChannelMember& member : group.members)
    fewest = std::min(fewest, member.positions[0].size());
  return static_cast<std::int64_t>(fewest);
}

GroupLimits SelectionLimits::of_group(std::int64_t units) const {
  // Shares like 0.9 of 10 are meant to be 9, however they round.
  const auto largest =
      static_cast<std::int64_t>(std::floor(max_ratio * static_cast<double>(units) + 1e-9));
  return {std::max({units - largest, minimum, std::int64_t{1}}), round_to};
}

RemovalOrder::RemovalOrder(const ChannelGroups& groups, const UnitScores& scores,
                           ChannelRanking ranking, std::vector<GroupLimits> limits)
    : ranked_(groups.groups.size()), limits_(std::move(limits)) {
  std::map<std::pair<Structure, std::size_t>, std::vector<Entry>> lists;
  for (std::size_t i = 0; i < groups.groups.size(); ++i) {
    const ChannelGroup& group = groups.groups[i];
    channels_.push_back(channels_per_unit(group));
    if (limits_[i].is_closed()) continue;
    auto& list = lists[{ranking == ChannelRanking::kIsomorphic ? structure_of(group) : Structure(),
                        ranking == ChannelRanking::kGroup ? i : 0}];
    for (std::size_t unit = 0; unit < group.units.size(); ++unit)
      list.push_back({0, i, static_cast<std::int64_t>(unit)});
  }
  for (auto& [key, list] : lists) {
    std::stable_sort(list.begin(), list.end(), [&](const Entry& a, const Entry& b) {
      return scores[a.group][static_cast<std::size_t>(a.unit)] <
             scores[b.group][static_cast<std::size_t>(b.unit)];
    });
    double of_list = 0, before = 0;
    for (const Entry& entry : list) of_list += static_cast<double>(channels_[entry.group]);
    for (Entry& entry : list) {
      const auto own = static_cast<double>(channels_[entry.group]);
      entry.share = (before + own / 2) / of_list;
      before += own;
      ranked_[entry.group].push_back(entry.unit);
      order_.push_back(entry);
    }
  }
  std::stable_sort(order_.begin(), order_.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.share, a.group) < std::tie(b.share, b.group);
  });
}

std::int64_t RemovalOrder::due_at(double ratio) const {
  return std::count_if(order_.begin(), order_.end(),
                       [&](const Entry& entry) { return entry.share <= ratio; });
}

UnitChoice RemovalOrder::first(std::int64_t count) const {
  std::vector<std::int64_t> due(ranked_.size(), 0);
  for (std::int64_t i = 0; i < count; ++i) ++due[order_[static_cast<std::size_t>(i)].group];
  UnitChoice choice(ranked_.size());
  for (std::size_t group = 0; group < ranked_.size(); ++group) {
    const auto& ranked = ranked_[group];
    choice[group].assign(ranked.begin(), ranked.begin() + within_limits(group, due[group]));
    std::sort(choice[group].begin(), choice[group].end());
  }
  return choice;
}

std::int64_t RemovalOrder::within_limits(std::size_t group, std::int64_t count) const {
  if (count == 0) return 0;
  const auto units = static_cast<std::int64_t>(ranked_[group].size());
  const std::int64_t at_least = std::min(units, limits_[group].kept_units);
  const std::int64_t kept = std::max(units - count, at_least);
  const std::int64_t round_to = limits_[group].round_to;
  const std::int64_t step = round_to / std::gcd(round_to, channels_[group]);
  std::int64_t rounded = (kept + step / 2) / step * step;
  if (rounded < at_least) rounded = (at_least + step - 1) / step * step;
  return units - std::min(rounded, units);
}

}  // namespace edgecompress
