#include "report/comparison.h"

#include <gmock/gmock.h>

#include "support/expect_error.h"

namespace edgecompress {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::expect_error;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A run of one step over the original "ab12": 1 MB and 10 ms become what is given.
Report run(double top1, std::int64_t zipped, double milliseconds, double speedup) {
  Report report;
  report.environment = {"0.1.0",    "1.13.1", "onednn", "A CPU", "OpenBLAS",
                        "SkylakeX", 2,        2,        "Linux"};
  report.sha256 = {{"model", "ab12"}, {"recipe", "cd34"}, {"data/test", "ef56"}};
  report.baseline.test = Score{"test", "top1", 0.93, 1000, 930, true};
  report.baseline.size = {1'200'000, 1'000'000, 250'000, 250'000, 1'000'000};
  report.baseline.latency = Latency{10, 9, 11, 1, 1, 10, 50, "frozen"};
  report.baseline.macs = 40'000'000;
  StepRecord step;
  step.pass = "quantize_int8";
  step.options = {{"mode", "static"}, {"observer", "histogram"}};
  step.evaluation = report.baseline;
  step.evaluation->test->value = top1;
  step.evaluation->size.zipped_bytes = zipped;
  step.evaluation->latency->median_ms = milliseconds;
  step.evaluation->speedup = speedup;
  report.steps.push_back(step);
  return report;
}

/// As it comes back from the file.
ComparedRun read(const Report& report, const std::string& name) {
  return compared_run(Json::parse(to_json(report).dump()), name);
}

Comparison compared(const Report& before, const Report& after, const Thresholds& thresholds = {}) {
  return compare({read(before, "before"), read(after, "after")}, thresholds);
}

const Figure& figure_named(const Comparison::Section& section, const std::string& name) {
  for (const Figure& figure : section.figures) {
    if (figure.name == name) return figure;
  }
  throw std::runtime_error("there is no figure " + name);
}

TEST(Comparison, TellsEveryFigureAndItsChange) {
  const Comparison comparison = compared(run(0.92, 300'000, 4, 2.5), run(0.91, 330'000, 5, 2));
  const auto& last = comparison.sections.back();
  EXPECT_EQ(last.name, "final");
  EXPECT_NEAR(*figure_named(last, "top1 (test)").changes[1], -0.01, 1e-12);
  EXPECT_NEAR(*figure_named(last, "zipped").changes[1], 1.1, 1e-12);
  EXPECT_NEAR(*figure_named(last, "latency").changes[1], 1.25, 1e-12);
  EXPECT_NEAR(*figure_named(last, "MACs").changes[1], 1, 1e-12);
  EXPECT_THAT(to_console(comparison),
              AllOf(HasSubstr("92.00 %"), HasSubstr("91.00 %"), HasSubstr("-1.00 points"),
                    HasSubstr("330 kB"), HasSubstr("+10.0 %"), HasSubstr("2.50x > 2.00x")));
  EXPECT_THAT(comparison.differences, IsEmpty());
  EXPECT_TRUE(comparison.are_latencies_comparable());
}

TEST(Comparison, NamesEachFigureThatIsBeyondItsThreshold) {
  Thresholds thresholds;
  thresholds.max_accuracy_drop = 0.005;
  thresholds.max_size_growth = 0.05;
  thresholds.max_slowdown = 0.1;
  thresholds.max_macs_growth = 0;
  const Comparison comparison =
      compared(run(0.92, 300'000, 4, 2.5), run(0.91, 330'000, 5, 2), thresholds);
  EXPECT_FALSE(comparison.are_thresholds_met());
  EXPECT_THAT(
      describe_regressions(comparison),
      ElementsAre(AllOf(HasSubstr("after: max_accuracy_drop 0.01 "), HasSubstr("0.92 to 0.91")),
                  AllOf(HasSubstr("max_size_growth 0.1 "), HasSubstr("300 kB to 330 kB")),
                  AllOf(HasSubstr("max_slowdown 0.25 "), HasSubstr("2.50x to 2.00x"))));
  EXPECT_THAT(to_markdown(comparison), HasSubstr("**Regressions:**"));
}

TEST(Comparison, LossesUpToTheThresholdAreMet) {
  Thresholds thresholds;
  thresholds.max_accuracy_drop = 0.01;  // 0.92 - 0.91 is 0.010000000000000009
  thresholds.max_size_growth = 0.1;
  thresholds.max_slowdown = 0.25;
  const Comparison comparison =
      compared(run(0.92, 300'000, 4, 2.5), run(0.91, 330'000, 5, 2), thresholds);
  EXPECT_THAT(describe_regressions(comparison), IsEmpty());
  EXPECT_TRUE(comparison.are_thresholds_met());
  EXPECT_THAT(to_markdown(comparison), HasSubstr("No regressions"));
}

TEST(Comparison, GainsAreNoRegressions) {
  Thresholds thresholds;
  thresholds.max_accuracy_drop = thresholds.max_size_growth = thresholds.max_slowdown = 0;
  EXPECT_TRUE(compared(run(0.91, 330'000, 5, 2), run(0.92, 300'000, 4, 2.5), thresholds)
                  .are_thresholds_met());
}

TEST(Comparison, AnErrorThatGrowsIsALoss) {
  Report before = run(0.5, 300'000, 4, 2), after = run(0.75, 300'000, 4, 2);
  for (Report* report : {&before, &after}) {
    report->steps[0].evaluation->test->metric = "mse";
    report->steps[0].evaluation->test->higher_is_better = false;
  }
  Thresholds thresholds;
  thresholds.max_accuracy_drop = 0.2;
  EXPECT_THAT(describe_regressions(compared(before, after, thresholds)),
              ElementsAre(HasSubstr("max_accuracy_drop 0.25 is above 0.2")));
}

TEST(Comparison, LatenciesOfOtherMachinesAreNotCompared) {
  const Report before = run(0.92, 300'000, 4, 2.5);
  Report after = run(0.92, 300'000, 8, 2.5);
  after.environment.cpu = "Another CPU";
  Thresholds thresholds;
  thresholds.max_slowdown = 0.1;
  const Comparison comparison = compared(before, after, thresholds);
  EXPECT_FALSE(comparison.are_latencies_comparable());
  EXPECT_TRUE(comparison.are_thresholds_met()) << "the speed-up over the same original is the same";
  EXPECT_THAT(to_console(comparison), AllOf(HasSubstr("not comparable"), HasSubstr("Another CPU")));

  after.sha256["model"] = "of another original";
  EXPECT_THAT(describe_regressions(compared(before, after, thresholds)),
              ElementsAre(HasSubstr("max_slowdown can't be judged: latencies were measured under "
                                    "other conditions")));
}

TEST(Comparison, ThreadsOfTheLatencySpoilItToo) {
  Report after = run(0.92, 300'000, 4, 2.5);
  after.steps[0].evaluation->latency->threads = 2;
  EXPECT_FALSE(compared(run(0.92, 300'000, 4, 2.5), after).are_latencies_comparable());
}

TEST(Comparison, WhatOnlyOneRunMeasuredCannotBeJudged) {
  Report after = run(0.92, 300'000, 4, 2.5);
  after.steps[0].evaluation->test.reset();
  Thresholds thresholds;
  thresholds.max_accuracy_drop = 0.5;
  EXPECT_THAT(describe_regressions(compared(run(0.92, 300'000, 4, 2.5), after, thresholds)),
              ElementsAre(HasSubstr("max_accuracy_drop can't be judged")));
}

TEST(Comparison, StepsAreMatchedByNumberAndPass) {
  const Report before = run(0.92, 300'000, 4, 2.5);
  Report after = run(0.91, 300'000, 4, 2.5);
  after.steps[0].options["mode"] = "dynamic";
  StepRecord tuned;
  tuned.pass = "finetune";
  tuned.state = StepState::kFailed;
  after.steps.push_back(tuned);
  const Comparison comparison = compared(before, after);
  ASSERT_EQ(comparison.sections.size(), 4U);
  EXPECT_EQ(comparison.sections[1].name, "1 quantize_int8");
  EXPECT_THAT(comparison.sections[1].states, ElementsAre("kept", "kept"));
  EXPECT_EQ(comparison.sections[2].name, "2 finetune");
  EXPECT_THAT(comparison.sections[2].states, ElementsAre("", "failed"));
  ASSERT_EQ(comparison.differences.size(), 1U);
  EXPECT_EQ(comparison.differences[0].what, "1 quantize_int8/mode");
  EXPECT_THAT(comparison.differences[0].values, ElementsAre("\"static\"", "\"dynamic\""));
}

TEST(Comparison, OtherDataAreTold) {
  Report after = run(0.92, 300'000, 4, 2.5);
  after.sha256["data/test"] = "0123456789abcdef";
  EXPECT_THAT(to_markdown(compared(run(0.92, 300'000, 4, 2.5), after)),
              AllOf(HasSubstr("data/test"), HasSubstr("0123456789ab"), Not(HasSubstr("abcdef"))));
}

TEST(Comparison, WhatIsNotANumberIsUnknown) {
  Report after = run(std::numeric_limits<double>::quiet_NaN(), 300'000, 4, 2.5);
  Thresholds thresholds;
  thresholds.max_accuracy_drop = 1;
  const Comparison comparison = compared(run(0.92, 300'000, 4, 2.5), after, thresholds);
  EXPECT_FALSE(comparison.are_thresholds_met());
  EXPECT_FALSE(figure_named(comparison.sections.back(), "top1 (test)").values[1]);
}

TEST(Comparison, RefusesWhatIsNoReport) {
  for (const char* text :
       {"null", "[]", "{}", "3", R"({"schema_version": 1})", R"({"schema_version": "one"})"}) {
    expect_error(ExitCode::kData, "x.json: not a report",
                 [&] { compared_run(Json::parse(text), "x.json"); });
  }
  Json later = to_json(run(0.9, 1, 1, 1));
  later["schema_version"] = 99;
  expect_error(ExitCode::kData, "schema version 99", [&] { compared_run(later, "x.json"); });
  Json broken = to_json(run(0.9, 1, 1, 1));
  broken["final"]["size"] = "small";
  expect_error(ExitCode::kData, "not a report", [&] { compared_run(broken, "x.json"); });
}

}  // namespace
}  // namespace edgecompress
