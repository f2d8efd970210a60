#include "model/layer_filter.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace edgecompress {
namespace {

using testing::expect_error;

TEST(LayerFilter, TakesWhatIsIncludedAndNotExcluded) {
  const LayerFilter filter({"^layer[12]\\.", "fc$"}, {"norm"});
  EXPECT_TRUE(filter.accepts("layer1.0.conv1"));
  EXPECT_TRUE(filter.accepts("head.fc"));
  EXPECT_FALSE(filter.accepts("layer1.0.norm1"));
  EXPECT_FALSE(filter.accepts("layer3.0.conv1"));
  EXPECT_TRUE(LayerFilter({}, {}).accepts("anything"));
}

// One that backtracks would take longer than the universe has been.
TEST(LayerFilter, AnExpressionThatCanBeReadInManyWaysIsStillMatchedAtOnce) {
  EXPECT_FALSE(LayerFilter({"^(a|aa)*b"}, {}).accepts(std::string(1000, 'a')));
}

TEST(LayerFilter, SaysWhichExpressionIsNone) {
  expect_error(ExitCode::kRecipe, "include/1: '(' is not a regular expression",
               [] { LayerFilter({"fc", "("}, {}, "include"); });
  expect_error(ExitCode::kRecipe, "(a)\\1", [] { LayerFilter({"(a)\\1"}, {}); });
  expect_error(ExitCode::kRecipe, "257 characters",
               [] { LayerFilter({std::string(257, 'a')}, {}); });
}

}  // namespace
}  // namespace edgecompress
