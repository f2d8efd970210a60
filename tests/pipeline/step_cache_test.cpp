#include "pipeline/step_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "edgecompress/edgecompress.h"
#include "support/workbench.h"
#include "util/file.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Workbench;

/// Which steps a run took from the cache.
std::vector<bool> run_cached(const Workbench& bench, const std::string& output,
                             std::int64_t bytes = 1 << 30) {
  RunRequest request;
  request.recipe = bench.write_recipe();
  request.output = bench.path(output).string();
  request.overwrite = true;
  request.cache = bench.path("cache").string();
  request.cache_bytes = bytes;
  run(request);
  std::vector<bool> cached;
  const json report = bench.read_json(output + "/report.json");
  for (const json& step : report.at("steps")) {
    cached.push_back(!step.at("cached_since").is_null());
  }
  return cached;
}

const json kSteps = {{{"pass", "prune_weights"}, {"ratio", 0.5}},
                     {{"pass", "lora"}, {"rank", 2}, {"epochs", 1}, {"keep_best", false}},
                     {{"pass", "quantize_int8"}, {"mode", "static"}}};

class StepCacheTest : public ::testing::Test {
 protected:
  StepCacheTest() { bench_.recipe["passes"] = kSteps; }
  Workbench bench_;
};

TEST_F(StepCacheTest, TheSameRunTakesEveryStepAndGivesTheSameBytes) {
  EXPECT_THAT(run_cached(bench_, "first"), Each(false));
  EXPECT_THAT(run_cached(bench_, "second"), ElementsAre(true, true, true));
  for (const char* file : {"model.pt", "adapter/adapter_model.safetensors"}) {
    EXPECT_EQ(bench_.read_text(std::string("first/") + file),
              bench_.read_text(std::string("second/") + file));
  }
  json first = bench_.read_json("first/report.json"),
       second = bench_.read_json("second/report.json");
  for (std::size_t i = 0; i < 3; ++i) {
    for (const char* part : {"details", "counts", "note", "options", "state", "seconds"}) {
      EXPECT_EQ(first["steps"][i][part], second["steps"][i][part]) << i << part;
    }
    EXPECT_EQ(first["steps"][i]["evaluation"]["test"], second["steps"][i]["evaluation"]["test"]);
  }
}

TEST_F(StepCacheTest, AChangedLaterStepLeavesTheEarlierOnesToBeTaken) {
  run_cached(bench_, "first");
  bench_.recipe["passes"][2]["mode"] = "dynamic";
  EXPECT_THAT(run_cached(bench_, "second"), ElementsAre(true, true, false));
}

/// Whatever differs, nothing wrong is taken: the step is done anew.
TEST_F(StepCacheTest, NothingIsTakenWhereAnythingDiffersThatTheStepHangsOn) {
  bench_.recipe["passes"].erase(2);
  run_cached(bench_, "first");
  const json original = bench_.recipe;
  const auto with = [&](const char* pointer, const json& value) {
    bench_.recipe = original;
    bench_.recipe[json::json_pointer(pointer)] = value;
    return run_cached(bench_, "other");
  };
  EXPECT_THAT(with("/seed", 99), ElementsAre(false, false));
  EXPECT_THAT(with("/passes/0/ratio", 0.4), ElementsAre(false, false));
  EXPECT_THAT(with("/passes/1/rank", 3), ElementsAre(true, false));
  EXPECT_THAT(with("/data/train/batch_size", 7), ElementsAre(false, false));
  EXPECT_THAT(with("/evaluation/metric", "f1"), ElementsAre(false, false));
  EXPECT_THAT(with("/threads", 2), ElementsAre(false, false));
  bench_.recipe = original;
  bench_.write_data("train.pt", bench_.images, bench_.labels);  // the same name, other bytes
  EXPECT_THAT(run_cached(bench_, "other"), ElementsAre(false, false));
}

TEST_F(StepCacheTest, AStepThatWasRolledBackIsTakenTooAndJudgedAnew) {
  bench_.recipe["passes"] = {kSteps[0]};
  bench_.recipe["passes"][0]["gate"] = {{"max_size_ratio", 0.01}};
  run_cached(bench_, "first");
  bench_.recipe["passes"][0].erase("gate");
  EXPECT_THAT(run_cached(bench_, "second"), ElementsAre(true));
  EXPECT_EQ(bench_.read_json("first/report.json")["steps"][0]["state"], "rolled_back");
  EXPECT_EQ(bench_.read_json("second/report.json")["steps"][0]["state"], "kept");
}

TEST_F(StepCacheTest, ADamagedModelIsNotTaken) {
  run_cached(bench_, "first");
  for (const auto& entry : fs::directory_iterator(bench_.path("cache"))) {
    const std::string model = read_file(entry.path() / "model.pt", ExitCode::kData, 1 << 20);
    write_file_atomic(entry.path() / "model.pt", model + "x");
  }
  EXPECT_THAT(run_cached(bench_, "second"), Each(false));
  EXPECT_EQ(bench_.read_text("first/model.pt"), bench_.read_text("second/model.pt"));
}

TEST_F(StepCacheTest, ACacheThatCannotBeWrittenCostsNothingButAWarning) {
  bench_.write_text("cache", "a file");
  EXPECT_THAT(run_cached(bench_, "first"), Each(false));
  EXPECT_THAT(bench_.read_text("first/run.log"), HasSubstr("the step is not kept"));
}

TEST_F(StepCacheTest, TheLogSaysWhatSetsTheNearestStepApart) {
  bench_.recipe["passes"] = {kSteps[0]};
  run_cached(bench_, "first");
  bench_.recipe["passes"][0]["ratio"] = 0.25;
  run_cached(bench_, "second");
  EXPECT_THAT(bench_.read_text("second/run.log"), HasSubstr("/options/ratio was 0.5 and is 0.25"));
}

}  // namespace
}  // namespace edgecompress
