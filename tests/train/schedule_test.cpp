#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

ScheduleOptions schedule(const std::string& name, double warm_up = 0) {
  ScheduleOptions options;
  options.name = name;
  options.warm_up = warm_up;
  return options;
}

TEST(Schedule, ConstantStaysAtOne) {
  EXPECT_EQ(schedule_factor(schedule("constant"), 0, 10), 1);
  EXPECT_EQ(schedule_factor(schedule("constant"), 9, 10), 1);
}

TEST(Schedule, CosineFallsFromOneThroughOneHalfTowardsZero) {
  const ScheduleOptions cosine = schedule("cosine");
  EXPECT_DOUBLE_EQ(schedule_factor(cosine, 0, 8), 1);
  EXPECT_DOUBLE_EQ(schedule_factor(cosine, 2, 8), 0.5 + std::sqrt(2.0) / 4);  // cos(45 degrees)
  EXPECT_NEAR(schedule_factor(cosine, 4, 8), 0.5, 1e-15);
  EXPECT_DOUBLE_EQ(schedule_factor(cosine, 6, 8), 0.5 - std::sqrt(2.0) / 4);
}

TEST(Schedule, StepMultipliesByGammaAtEachMilestone) {
  ScheduleOptions step = schedule("step");
  step.gamma = 0.1;
  step.milestones = {0.5, 0.75};
  EXPECT_DOUBLE_EQ(schedule_factor(step, 49, 100), 1);
  EXPECT_DOUBLE_EQ(schedule_factor(step, 50, 100), 0.1);
  EXPECT_DOUBLE_EQ(schedule_factor(step, 74, 100), 0.1);
  EXPECT_DOUBLE_EQ(schedule_factor(step, 75, 100), 0.01);
}

TEST(Schedule, WarmUpRampsLinearlyAndTheCosineStartsAfterIt) {
  const ScheduleOptions cosine = schedule("cosine", 0.2);
  EXPECT_DOUBLE_EQ(schedule_factor(cosine, 0, 20), 0.25);
  EXPECT_DOUBLE_EQ(schedule_factor(cosine, 1, 20), 0.5);
  EXPECT_DOUBLE_EQ(schedule_factor(cosine, 3, 20), 1);
  EXPECT_DOUBLE_EQ(schedule_factor(cosine, 4, 20), 1);
  EXPECT_NEAR(schedule_factor(cosine, 12, 20), 0.5, 1e-15);
}

// torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1, total_steps=10, pct_start=0.3,
// cycle_momentum=False)
TEST(Schedule, OneCycleIsThatOfPyTorch) {
  const std::vector<double> expected = {0.04,       0.52,       1.0,        0.95048463, 0.81174565,
                                        0.61126202, 0.38874198, 0.18825835, 0.04951937, 4e-06};
  for (std::int64_t step = 0; step < 10; ++step) {
    EXPECT_NEAR(schedule_factor(schedule("one_cycle"), step, 10),
                expected[static_cast<std::size_t>(step)], 1e-8)
        << step;
  }
}

TEST(Schedule, OneCycleOfOneStepIsThatStep) {
  EXPECT_EQ(schedule_factor(schedule("one_cycle"), 0, 1), 1);
}

TEST(Schedule, OptionsThatItsNameLeavesIdleAreRefused) {
  EXPECT_THROW(schedule_options().parse({{"name", "cosine"}, {"gamma", 0.5}}, ""), Error);
  EXPECT_THROW(schedule_options().parse({{"name", "one_cycle"}, {"warm_up", 0.5}}, ""), Error);
  EXPECT_EQ(schedule_options().parse({{"name", "one_cycle"}, {"peak", 0.5}}, "").peak, 0.5);
}

}  // namespace
}  // namespace edgecompress
