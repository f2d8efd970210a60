#include "pipeline/forecast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "edgecompress/edgecompress.h"
#include "pipeline/networks.h"
#include "support/workbench.h"

namespace edgecompress {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::Workbench;

/// What --dry-run says, and the run after it.
std::string plan_and_run(const Workbench& bench) {
  RunRequest request;
  request.recipe = bench.write_recipe();
  request.cache = bench.path("cache").string();
  request.dry_run = true;
  const Outcome plan = run(request);
  request.dry_run = false;
  run(request);
  return plan.text;
}

class ForecastOf : public ::testing::TestWithParam<std::string> {};

TEST_P(ForecastOf, IsExactInParametersAndMacsAndNearInBytes) {
  Workbench bench(GetParam());
  bench.recipe["evaluation"]["latency"] = {{"warm_up", 0}, {"repeats", 1}};
  bench.recipe["passes"] = {{{"pass", "prune_channels"}, {"ratio", 0.25}},
                            {{"pass", "finetune"}, {"epochs", 2}},
                            {{"pass", "quantize_int8"}, {"mode", "static"}}};
  plan_and_run(bench);
  const json report = bench.read_json("out/report.json");
  for (const json& step : report.at("steps")) {
    ASSERT_FALSE(step.at("forecast").is_null());
    const json& forecast = step["forecast"];
    const json& fact = step.at("evaluation");
    EXPECT_EQ(forecast.at("obstacle"), "") << step.at("pass");
    EXPECT_EQ(forecast.at("parameters"), fact.at("size").at("parameters")) << step.at("pass");
    EXPECT_EQ(forecast.at("macs"), fact.at("macs")) << step.at("pass");
    const double bytes = fact.at("size").at("file_bytes");
    EXPECT_NEAR(forecast.at("file_bytes").get<double>(), bytes, 0.03 * bytes) << step.at("pass");
    EXPECT_GT(forecast.at("peak_memory_bytes"), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, ForecastOf, ::testing::ValuesIn(testing::networks_of_runs()),
                         [](const auto& network) { return network.param; });

TEST(Forecast, IsInThePlanAndBesideTheFactsInTheReport) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "finetune"}, {"epochs", 2}}};
  const std::string plan = plan_and_run(bench);
  EXPECT_THAT(plan, HasSubstr("1 finetune"));
  EXPECT_THAT(plan, HasSubstr("told by doing the steps on a few batches"));
  EXPECT_THAT(bench.read_text("out/report.md"), HasSubstr("fact / forecast"));
}

TEST(Forecast, OfAnotherRecipeIsNotShown) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "fold_batch_norm"}}};
  plan_and_run(bench);
  EXPECT_FALSE(bench.read_json("out/report.json")["steps"][0]["forecast"].is_null());
  bench.recipe["seed"] = 77;
  bench.recipe["output"]["overwrite"] = true;
  RunRequest request;
  request.recipe = bench.write_recipe();
  request.cache = bench.path("cache").string();
  run(request);
  EXPECT_TRUE(bench.read_json("out/report.json")["steps"][0]["forecast"].is_null());
}

TEST(Forecast, NamesAStepThatCannotBeTriedOut) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "lora"}, {"adapters", {{{"path", "absent"}}}}, {"epochs", 0}},
                            {{"pass", "fold_batch_norm"}}};
  RunRequest request;
  request.recipe = bench.write_recipe();
  request.dry_run = true;
  const std::string plan = run(request).text;
  EXPECT_THAT(plan, HasSubstr("no forecast of 1 lora"));
  EXPECT_THAT(plan, HasSubstr("no forecast of 2 fold_batch_norm: a step before it fails"));
}

}  // namespace
}  // namespace edgecompress
