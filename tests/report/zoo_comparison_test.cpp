#include "report/zoo_comparison.h"

#include <gmock/gmock.h>

#include "support/expect_error.h"

namespace edgecompress {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::expect_error;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

/// The report of a run that made so many zipped bytes of 1000.
Json report_of(std::int64_t zipped) {
  Report report;
  report.baseline.size.zipped_bytes = 1000;
  StepRecord step;
  step.pass = "prune_weights";
  step.evaluation = report.baseline;
  step.evaluation->size.zipped_bytes = zipped;
  report.steps.push_back(step);
  return to_json(report);
}

/// A batch of models by name, with state and zipped bytes; without a result, no report is asked
/// for.
ComparedZoo zoo(const std::string& name,
                const std::map<std::string, std::pair<std::string, std::int64_t>>& models) {
  Json json = {{"schema_version", 1}, {"models", Json::array()}};
  for (const auto& [model, result] : models) {
    json["models"].push_back({{"name", model}, {"state", result.first}});
  }
  return compared_zoo(json, name, [&](const std::string& model) {
    EXPECT_THAT(models.at(model).first, ::testing::AnyOf("done", "gate missed"));
    return report_of(models.at(model).second);
  });
}

TEST(ZooComparison, NamesModelsThatGotWorseAndModelsThatAreLost) {
  const ComparedZoo before = zoo("before", {{"alike", {"done", 500}},
                                            {"always_bad", {"bad model", 0}},
                                            {"crashing", {"done", 500}},
                                            {"gone", {"gate missed", 500}},
                                            {"larger", {"done", 500}},
                                            {"short", {"done", 500}}});
  const ComparedZoo after = zoo("after", {{"alike", {"done", 500}},
                                          {"always_bad", {"bad model", 0}},
                                          {"crashing", {"crashed", 0}},
                                          {"larger", {"done", 600}},
                                          {"new", {"crashed", 0}},
                                          {"short", {"gate missed", 500}}});
  Thresholds thresholds;
  thresholds.max_size_growth = 0.1;
  const ZooComparison comparison = compare({before, after}, thresholds);
  EXPECT_THAT(comparison.regressions,
              UnorderedElementsAre("crashing: was done and is crashed",
                                   "gone: was gate missed and is absent",
                                   HasSubstr("larger: after: max_size_growth 0.2 is above 0.1"),
                                   "short: was done and is gate missed"));
  EXPECT_THAT(to_console(comparison), AllOf(HasSubstr("500 B > 600 B"), HasSubstr("done > crashed"),
                                            HasSubstr("regression: gone")));
  EXPECT_THAT(to_markdown(comparison), HasSubstr("- crashing: was done and is crashed"));
  EXPECT_EQ(to_json(comparison)["models"].size(), 7U);
}

TEST(ZooComparison, ABatchWithItselfHasNoRegressions) {
  const ComparedZoo same = zoo("a", {{"net", {"done", 500}}, {"bad", {"timed out", 0}}});
  Thresholds thresholds;
  thresholds.max_size_growth = 0;
  EXPECT_THAT(compare({same, same}, thresholds).regressions, ElementsAre());
}

TEST(ZooComparison, AModelsNameDoesNotLeadOutOfTheFolder) {
  for (const char* name : {"../../etc", "..", "", "/etc"}) {
    const Json zoo = {{"models", {{{"name", name}, {"state", "done"}}}}};
    expect_error(ExitCode::kData, "is no name of a model", [&] {
      compared_zoo(zoo, "zoo.json", [](const std::string&) {
        ADD_FAILURE() << "nothing may be read";
        return Json();
      });
    });
  }
  expect_error(ExitCode::kData, "zoo.json: not a report of a batch",
               [] { compared_zoo(Json::object(), "zoo.json", {}); });
}

}  // namespace
}  // namespace edgecompress
