#include "channels/channel_cells.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

namespace edgecompress {
namespace {

using ::testing::ElementsAre;

TEST(ChannelCellsTest, UnitedCellsHaveTheOldestAsRoot) {
  CellSets sets;
  sets.make(5);
  sets.unite(4, 2);
  sets.unite(3, 4);
  EXPECT_EQ(sets.find(3), 2);
  EXPECT_EQ(sets.find(4), 2);
  EXPECT_EQ(sets.find(1), 1);
}

TEST(ChannelCellsTest, NewCellsFollowTheOld) {
  CellSets sets;
  EXPECT_EQ(sets.make(3), 0);
  EXPECT_EQ(sets.make(2), 3);
  EXPECT_EQ(sets.size(), 5);
}

TEST(ChannelCellsTest, AFixedCellFixesWhatItIsUnitedWith) {
  CellSets sets;
  sets.make(3);
  sets.fix(2, "an output");
  sets.unite(0, 2);
  EXPECT_TRUE(sets.is_fixed(0));
  EXPECT_EQ(sets.reason(0), "an output");
  EXPECT_FALSE(sets.is_fixed(1));
}

TEST(ChannelCellsTest, TheFirstReasonStays) {
  CellSets sets;
  sets.make(2);
  sets.fix(0, "first");
  sets.fix(0, "second");
  sets.fix(1, "third");
  EXPECT_EQ(sets.reason(0), "first");
  EXPECT_EQ(sets.reason(1), "third");
}

TEST(ChannelCellsTest, FoldsTheDimensionsAlongWhichCellsAreEqual) {
  CellSets sets;
  sets.make(3);
  const at::Tensor cells = at::arange(3, at::kInt).view({1, 3, 1}).expand({2, 3, 4}).contiguous();
  const CellMap map = fold(sets, cells);
  EXPECT_THAT(map.sizes, ElementsAre(2, 3, 4));
  EXPECT_THAT(map.varying_dims(), ElementsAre(1));
  EXPECT_THAT(cells_along(map, 1), ElementsAre(0, 1, 2));
}

TEST(ChannelCellsTest, FoldsCellsThatWereUnited) {
  CellSets sets;
  sets.make(2);
  sets.unite(0, 1);
  EXPECT_THAT(fold(sets, at::arange(2, at::kInt)).varying_dims(), ElementsAre());
}

TEST(ChannelCellsTest, ALineAlongAFoldedDimensionRepeatsItsCell) {
  EXPECT_THAT(cells_along(uniform_map({2, 3}, 7), 1), ElementsAre(7, 7, 7));
}

}  // namespace
}  // namespace edgecompress
