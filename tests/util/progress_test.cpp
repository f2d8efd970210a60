#include "util/progress.h"

#include <gtest/gtest.h>

#include "edgecompress/edgecompress.h"

namespace edgecompress {
namespace {

class Recorder : public Progress {
 public:
  std::int64_t done = -1, total = -1;
  std::string stage, detail;
  double seconds_left = 0;
  bool is_hidden = false;

 private:
  void show(const std::string& new_stage, std::int64_t new_done, std::int64_t new_total,
            double left, const std::string& new_detail) override {
    stage = new_stage;
    done = new_done;
    total = new_total;
    seconds_left = left;
    detail = new_detail;
  }
  void hide() override { is_hidden = true; }
};

TEST(Progress, ShowsWhatIsDoneAndEstimatesOnlyWhatItCan) {
  Recorder progress;
  progress.begin("calibrate", 4);
  EXPECT_EQ(progress.stage, "calibrate");
  EXPECT_EQ(progress.done, 0);
  EXPECT_LT(progress.seconds_left, 0) << "nothing is done yet";
  progress.advance(3, "loss 0.3");
  EXPECT_EQ(progress.done, 3);
  EXPECT_GE(progress.seconds_left, 0);
  EXPECT_EQ(progress.detail, "loss 0.3");
  progress.end();
  EXPECT_TRUE(progress.is_hidden);

  progress.begin("unknown", 0);
  progress.advance();
  EXPECT_LT(progress.seconds_left, 0) << "the total is not known";
}

TEST(Progress, IsWhereAnInterruptEndsTheWork) {
  Recorder progress;
  progress.begin("train", 10);
  request_interrupt();
  EXPECT_TRUE(interrupt_requested());
  try {
    progress.advance();
    FAIL() << "advance() went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInterrupted);
  }
  EXPECT_EQ(progress.done, 0);
  clear_interrupt();
  EXPECT_NO_THROW(progress.advance());
}

}  // namespace
}  // namespace edgecompress
