#include "pruning/kept_positions.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

/// Units that are pairs of rows of `a` and single columns of `b`.
ChannelGroups pairs(std::int64_t units) {
  ChannelGroup group;
  group.name = "a";
  group.members = {{"a", 0, ChannelAxis::Role::kProduces, "a", {}},
                   {"b", 1, ChannelAxis::Role::kConsumes, "b", {}}};
  for (std::int64_t unit = 0; unit < units; ++unit) {
    group.members[0].positions.push_back({2 * unit, 2 * unit + 1});
    group.members[1].positions.push_back({unit});
  }
  group.units.resize(static_cast<std::size_t>(units));
  ChannelGroups groups;
  groups.groups = {group};
  return groups;
}

std::vector<std::int64_t> numbers(const at::Tensor& positions) {
  return {positions.data_ptr<std::int64_t>(),
          positions.data_ptr<std::int64_t>() + positions.numel()};
}

TEST(KeptPositions, AreCountedAsBeforeTheFirstRemoval) {
  using Positions = std::vector<std::int64_t>;
  KeptPositions kept;
  EXPECT_EQ(numbers(kept.of("b", 1, 3)), (Positions{0, 1, 2}));
  kept.remove(pairs(6), {{1, 4}});
  EXPECT_EQ(numbers(kept.of("b", 1, 6)), (Positions{0, 2, 3, 5}));
  kept.remove(pairs(4), {{0, 2}});  // were 0 and 3
  EXPECT_EQ(numbers(kept.of("b", 1, 6)), (Positions{2, 5}));
  EXPECT_EQ(numbers(kept.of("a", 0, 12)), (Positions{4, 5, 10, 11}));
  kept.remove(pairs(2), {{}});
  EXPECT_EQ(numbers(kept.of("b", 1, 6)), (Positions{2, 5}));
  EXPECT_EQ(numbers(kept.of("a", 1, 2)), (Positions{0, 1}));
}

TEST(KeptPositions, KnowWhatMultipliesWithChannelsThatAreGone) {
  KeptPositions kept;
  kept.remove(pairs(3), {{}});
  EXPECT_FALSE(kept.is_consumer("b"));
  kept.remove(pairs(3), {{0}});
  EXPECT_TRUE(kept.is_consumer("b"));
  EXPECT_FALSE(kept.is_consumer("a"));
}

}  // namespace
}  // namespace edgecompress
