#include "cli/progress_view.h"

#include <gtest/gtest.h>

namespace edgecompress {
namespace {

TEST(ProgressLine, ShowsShareTimeLeftAndDetail) {
  EXPECT_EQ(progress_line({"train", 30, 60, 12.3, "loss 0.31", false}, 100),
            "train  [############............]  50%  12.3 s left  loss 0.31");
}

TEST(ProgressLine, WithoutATotalCounts) {
  EXPECT_EQ(progress_line({"read", 30, 0, -1, "", false}, 100), "read  30");
}

TEST(ProgressLine, NeverIsWiderThanTheTerminal) {
  EXPECT_EQ(progress_line({"train", 1, 2, 5, std::string(200, 'x'), false}, 40).size(), 40U);
}

TEST(ProgressLine, MoreThanTheTotalIsFull) {
  EXPECT_EQ(progress_line({"train", 5, 2, -1, "", false}, 100),
            "train  [########################]  100%");
}

}  // namespace
}  // namespace edgecompress
