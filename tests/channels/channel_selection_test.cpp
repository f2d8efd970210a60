#include "channels/channel_selection.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "util/random.h"

namespace edgecompress {
namespace {

/// A group of `units` whose units hold `width` rows of `tensor` and a column of another.
ChannelGroup make_group(const std::string& tensor, std::int64_t units, std::int64_t width = 1) {
  ChannelGroup group;
  group.name = tensor;
  ChannelMember rows{tensor + ".weight", 0, ChannelAxis::Role::kProduces, tensor, {}};
  for (std::int64_t unit = 0; unit < units; ++unit) {
    group.units.push_back(static_cast<Cell>(unit));
    rows.positions.emplace_back();
    for (std::int64_t i = 0; i < width; ++i) rows.positions.back().push_back(unit * width + i);
  }
  group.members = {rows};
  return group;
}

ChannelGroups make_groups(std::vector<ChannelGroup> list) {
  ChannelGroups groups;
  groups.groups = std::move(list);
  return groups;
}

UnitChoice choose(const ChannelGroups& groups, const UnitScores& scores, ChannelRanking ranking,
                  double ratio, const SelectionLimits& limits = {},
                  std::vector<bool> is_open = {}) {
  std::vector<GroupLimits> of_groups;
  for (std::size_t i = 0; i < groups.groups.size(); ++i) {
    const bool is_closed = !is_open.empty() && !is_open[i];
    of_groups.push_back(is_closed ? GroupLimits::closed()
                                  : limits.of_group(static_cast<std::int64_t>(scores[i].size())));
  }
  const RemovalOrder order(groups, scores, ranking, of_groups);
  return order.first(order.due_at(ratio));
}

TEST(RemovalOrder, TakesTheSameShareOfEachGroup) {
  const auto groups = make_groups({make_group("a", 4), make_group("b", 2)});
  EXPECT_EQ(choose(groups, {{4, 1, 3, 2}, {9, 8}}, ChannelRanking::kGroup, 0.5),
            (UnitChoice{{1, 3}, {1}}));
}

TEST(RemovalOrder, RoundsAShareToTheNearestUnit) {
  const auto groups = make_groups({make_group("a", 4)});
  const UnitScores scores = {{1, 2, 3, 4}};
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kGroup, 0.12), (UnitChoice{{}}));
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kGroup, 0.37), (UnitChoice{{0}}));
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kGroup, 0.38), (UnitChoice{{0, 1}}));
}

TEST(RemovalOrder, RanksAllGroupsInOneListOnRequest) {
  const auto groups = make_groups({make_group("a", 4), make_group("b", 2)});
  const UnitScores scores = {{0.3, 0.1, 0.2, 2}, {1, 1.5}};
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kGlobal, 0.5), (UnitChoice{{0, 1, 2}, {}}));
}

TEST(RemovalOrder, RanksGroupsOfOneStructureTogether) {
  // a and b are alike; c has two rows a unit.
  const auto groups = make_groups({make_group("a", 2), make_group("b", 2), make_group("c", 2, 2)});
  const UnitScores scores = {{1, 2}, {3, 4}, {0.1, 0.2}};
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kIsomorphic, 0.25), (UnitChoice{{0}, {}, {0}}));
}

TEST(RemovalOrder, CountsAUnitByItsChannels) {
  // Eight channels: four alone, then two units of two.
  const auto groups = make_groups({make_group("a", 4), make_group("b", 2, 2)});
  const UnitScores scores = {{0.1, 0.2, 0.3, 0.4}, {1, 1.5}};
  const auto removed = [&](double ratio) {
    return choose(groups, scores, ChannelRanking::kGlobal, ratio);
  };
  EXPECT_EQ(removed(0.5), (UnitChoice{{0, 1, 2}, {}}));  // the limits keep one of four
  EXPECT_EQ(removed(0.62), (UnitChoice{{0, 1, 2}, {}}));
  EXPECT_EQ(removed(0.63), (UnitChoice{{0, 1, 2}, {0}}));
}

TEST(RemovalOrder, BreaksTiesByGroupAndIndex) {
  const auto groups = make_groups({make_group("a", 3), make_group("b", 3)});
  const UnitScores scores = {{1, 1, 1}, {1, 1, 1}};
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kGlobal, 0.34), (UnitChoice{{0, 1}, {}}));
}

TEST(RemovalOrder, LeavesNoGroupBelowItsLimits) {
  const auto groups = make_groups({make_group("a", 10)});
  const UnitScores scores = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  const auto removed = [&](double ratio, SelectionLimits limits) {
    return choose(groups, scores, ChannelRanking::kGroup, ratio, limits)[0].size();
  };
  EXPECT_EQ(removed(0.99, {}), 9U);
  EXPECT_EQ(removed(0.99, {0.3, 1, 1}), 3U);
  EXPECT_EQ(removed(0.99, {0.9, 4, 1}), 6U);
  EXPECT_EQ(removed(0.99, {0.9, 40, 1}), 0U);
}

TEST(RemovalOrder, RoundsWhatIsKept) {
  const auto groups = make_groups({make_group("a", 10)});
  const UnitScores scores = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  const auto kept = [&](double ratio, SelectionLimits limits) {
    return 10 - choose(groups, scores, ChannelRanking::kGroup, ratio, limits)[0].size();
  };
  EXPECT_EQ(kept(0.5, {0.9, 1, 4}), 4U);
  EXPECT_EQ(kept(0.4, {0.9, 1, 4}), 8U);  // 6 is as near to 4
  EXPECT_EQ(kept(0.5, {0.5, 1, 4}), 8U);  // 4 would be too few
  EXPECT_EQ(kept(0.9, {0.9, 1, 4}), 4U);
  EXPECT_EQ(kept(0.9, {0.9, 1, 16}), 10U);
  EXPECT_EQ(kept(0.0, {0.9, 1, 4}), 10U);
}

TEST(RemovalOrder, RoundsChannelsNotUnits) {
  const auto groups = make_groups({make_group("heads", 6, 2)});
  const UnitScores scores = {{0, 1, 2, 3, 4, 5}};
  // 3 of 6 units are 6 channels; the nearest multiples of 4 are 4 and 8.
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kGroup, 0.5, {0.9, 1, 4}), (UnitChoice{{0, 1}}));
}

TEST(RemovalOrder, LeavesClosedGroupsAlone) {
  const auto groups = make_groups({make_group("a", 2), make_group("b", 2)});
  const UnitScores scores = {{1, 2}, {3, 4}};
  EXPECT_EQ(choose(groups, scores, ChannelRanking::kGlobal, 0.5, {}, {false, true}),
            (UnitChoice{{}, {0}}));
}

TEST(RemovalOrder, NeverShrinksAsMoreIsDue) {
  Random random(3);
  const auto groups = make_groups(
      {make_group("a", 13), make_group("b", 8, 3), make_group("c", 21), make_group("d", 1)});
  for (const auto ranking :
       {ChannelRanking::kGroup, ChannelRanking::kGlobal, ChannelRanking::kIsomorphic}) {
    for (const std::int64_t round_to : {1, 2, 4, 8}) {
      UnitScores scores;
      for (const ChannelGroup& group : groups.groups) {
        scores.emplace_back();
        for (std::size_t i = 0; i < group.units.size(); ++i)
          scores.back().push_back(random.uniform());
      }
      const SelectionLimits limits = {0.8, 2, round_to};
      std::vector<GroupLimits> of_groups;
      for (const ChannelGroup& group : groups.groups)
        of_groups.push_back(limits.of_group(static_cast<std::int64_t>(group.units.size())));
      const RemovalOrder order(groups, scores, ranking, of_groups);
      UnitChoice before = order.first(0);
      for (std::int64_t count = 1; count <= order.units(); ++count) {
        const UnitChoice after = order.first(count);
        for (std::size_t i = 0; i < after.size(); ++i) {
          EXPECT_TRUE(
              std::includes(after[i].begin(), after[i].end(), before[i].begin(), before[i].end()));
          EXPECT_GE(groups.groups[i].units.size() - after[i].size(),
                    std::min<std::size_t>(2, groups.groups[i].units.size()));
        }
        before = after;
      }
    }
  }
}

}  // namespace
}  // namespace edgecompress
