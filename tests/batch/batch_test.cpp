// The controller, with shell scripts for models.
#include "batch/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <thread>

#include "batch/fake_program.h"
#include "edgecompress/edgecompress.h"
#include "util/progress.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeProgram;
using ::testing::HasSubstr;
using ::testing::Not;

class Recorder : public BatchWatcher {
 public:
  void model_ended(const ZooRow& row, std::size_t, std::size_t) override {
    ended.push_back(row.name);
  }
  void models_run(const std::vector<RunningModel>& models, std::size_t, std::size_t) override {
    most_at_once = std::max(most_at_once, models.size());
    if (on_run) on_run(models);
  }

  std::vector<std::string> ended;
  std::size_t most_at_once = 0;
  std::function<void(const std::vector<RunningModel>&)> on_run;
};

class BatchTest : public ::testing::Test {
 protected:
  BatchTest() {
    request.models = {fake.path("zoo").string()};
    request.recipe = fake.path("recipe.json").string();
    request.output = fake.path("out").string();
    request.program = fake.path("program").string();
    request.limits.seconds = 60;
    request.limits.grace_seconds = 0.2;
    request.memory_bytes = 30 << 20;
  }
  void TearDown() override { clear_interrupt(); }

  BatchPlan plan() const { return plan_batch(request, PassCatalogue({})); }
  Zoo run() {
    const BatchPlan the_plan = plan();
    const ZooFolder folder(request.output, request.shard,
                           request.is_resumed       ? ZooFolder::Earlier::kResumed
                           : request.is_overwriting ? ZooFolder::Earlier::kReplaced
                                                    : ZooFolder::Earlier::kRefused);
    std::map<std::string, ZooRow> earlier;
    if (request.is_resumed) earlier = ZooFolder::earlier_rows(request.output);
    Zoo zoo = zoo_before(the_plan, earlier, folder);
    run_pending(request, the_plan, folder, zoo, recorder);
    return zoo;
  }
  static std::vector<std::string> states(const Zoo& zoo) {
    std::vector<std::string> found;
    for (const ZooRow& row : zoo.rows) found.push_back(row.name + ": " + to_string(row.state));
    return found;
  }

  FakeProgram fake;
  BatchRequest request;
  Recorder recorder;
};

TEST_F(BatchTest, NoModelStopsTheRestAndEachIsToldWithItsReason) {
  fake.add_good_model("a_good");
  fake.add_model("b_corrupt", "echo 'error: b.pt: not a TorchScript file' >&2; exit 4");
  fake.add_model("c_crash", "echo 'info: step 1 quantize_int8'; kill -SEGV $$");
  fake.add_model("d_hang", "exec sleep 1000");
  fake.add_model("e_hungry", "exec tail /dev/zero");
  fake.add_model("f_failed", "echo 'error: step 1 prune: no layers' >&2; exit 6");
  fake.add_good_model(
      "g_gate", 7, R"([{"gate": "max_size_ratio", "bound": 0.25, "found": 0.5, "is_met": false}])");
  fake.add_model("h_huge", "echo 'error: out of memory' >&2; exit 1");
  fake.add_good_model("i_good");
  request.limits.seconds = 3;
  request.jobs = 3;
  const Zoo zoo = run();
  EXPECT_THAT(states(zoo),
              ElementsAre("a_good: done", "b_corrupt: bad model", "c_crash: crashed",
                          "d_hang: timed out", "e_hungry: out of memory", "f_failed: failed",
                          "g_gate: gate missed", "h_huge: out of memory", "i_good: done"));
  EXPECT_EQ(zoo.rows[0].reason, "");
  EXPECT_EQ(zoo.rows[0].figures.bytes_before, 2000);
  EXPECT_EQ(zoo.rows[0].figures.bytes_after, 1000);
  EXPECT_EQ(zoo.rows[1].reason, "b.pt: not a TorchScript file");
  EXPECT_THAT(zoo.rows[2].reason, AllOf(HasSubstr("signal 11"), HasSubstr("step 1 quantize_int8")));
  EXPECT_THAT(zoo.rows[3].reason, HasSubstr("--time-limit"));
  EXPECT_THAT(zoo.rows[4].reason, HasSubstr("--memory"));
  EXPECT_EQ(zoo.rows[5].reason, "step 1 prune: no layers");
  EXPECT_EQ(zoo.rows[6].reason, "max_size_ratio is 0.5, the bound 0.25");
  EXPECT_EQ(zoo.exit_code(), ExitCode::kPass);
  EXPECT_EQ(recorder.ended.size(), 9);
  EXPECT_LE(recorder.most_at_once, 3);
  EXPECT_EQ(zoo_from_json(Json::parse(fake.read("out/zoo.json"))).rows.size(), 9);
}

TEST_F(BatchTest, TheExitCodeSaysTheWorst) {
  fake.add_good_model("a");
  EXPECT_EQ(run().exit_code(), ExitCode::kDone);
  fake.add_good_model("b", 7);
  request.is_overwriting = true;
  EXPECT_EQ(run().exit_code(), ExitCode::kGate);
}

TEST_F(BatchTest, JobsRunAtOnce) {
  for (const char* name : {"a", "b", "c"}) {
    fake.add_model(name,
                   "touch \"$output/started\"\n"
                   "until [ $(ls \"$output\"/../*/started | wc -l) = 3 ]; do sleep 0.01; done");
  }
  request.jobs = 3;
  EXPECT_EQ(run().exit_code(), ExitCode::kDone);
}

TEST_F(BatchTest, ThreadsAreSharedOut) {
  fake.add_good_model("a");
  request.jobs = 2;
  request.threads = 7;
  run();
  EXPECT_THAT(fake.read("out/a/arguments.txt"), HasSubstr("--threads=3 "));
}

TEST_F(BatchTest, ResumeLeavesOutWhatIsDoneAndRunsTheRestAgain) {
  fake.add_good_model("a");
  fake.add_good_model("b", 7);
  fake.add_model("c", "exit 6");
  run();
  fake.add_good_model("c");
  request.is_resumed = true;
  recorder.ended.clear();
  const Zoo zoo = run();
  EXPECT_THAT(recorder.ended, ElementsAre("c"));
  EXPECT_THAT(states(zoo), ElementsAre("a: done", "b: gate missed", "c: done"));
  EXPECT_THAT(fake.read("out/c/arguments.txt"), HasSubstr("--resume"));
}

TEST_F(BatchTest, ResumeRunsAgainWhatHasChanged) {
  for (const char* name : {"a", "b", "c", "d"}) fake.add_good_model(name);
  run();
  request.is_resumed = true;
  fake.add_good_model("b", 0, "[ ]");          // other bytes
  fs::remove(fake.path("out/c/report.json"));  // results that are gone
  run();
  EXPECT_THAT(recorder.ended, ElementsAre("a", "b", "c", "d", "b", "c"));
  recorder.ended.clear();
  request.seed = 5;
  run();
  EXPECT_THAT(recorder.ended, ElementsAre("a", "b", "c", "d"));
}

TEST_F(BatchTest, ThreadsAndJobsAreNoReasonToRunAgain) {
  fake.add_good_model("a");
  run();
  request.is_resumed = true;
  request.threads = 3;
  request.jobs = 2;
  run();
  EXPECT_THAT(recorder.ended, ElementsAre("a"));
}

TEST_F(BatchTest, DataThatChangedIsAReasonToRunAgain) {
  fake.add_good_model("a");
  fake.write("test.npz", "1");
  request.set = {R"(data={"test": {"source": "npz", "path": "test.npz", "inputs": ["x"]}})"};
  run();
  request.is_resumed = true;
  run();
  EXPECT_THAT(recorder.ended, ElementsAre("a"));
  fake.write("test.npz", "22");
  run();
  EXPECT_THAT(recorder.ended, ElementsAre("a", "a"));
}

TEST_F(BatchTest, ResultsOfAnEarlierRunDoNotStandBesideAFailure) {
  fake.add_good_model("a");
  run();
  fake.write("out/a/.journal/1_finetune.checkpoint", "state");
  fake.add_model("a", "exit 6");
  request.is_resumed = true;
  run();
  EXPECT_FALSE(fs::exists(fake.path("out/a/model.pt")));
  EXPECT_TRUE(fs::exists(fake.path("out/a/.journal/1_finetune.checkpoint"))) << "to go on from";
}

TEST_F(BatchTest, WhatAKilledProcessLeftUnfinishedIsRemoved) {
  fake.add_model("a", "mkdir \"$output/.a.partial-$$\"; kill -9 $$");
  run();
  EXPECT_TRUE(fs::exists(fake.path("out/a/batch.log")));
  for (const auto& entry : fs::directory_iterator(fake.path("out/a"))) {
    EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("partial")));
  }
}

TEST_F(BatchTest, FailFastStartsNoMore) {
  fake.add_good_model("a");
  fake.add_model("b", "exit 6");
  fake.add_good_model("c");
  request.fails_fast = true;
  const Zoo zoo = run();
  EXPECT_THAT(states(zoo), ElementsAre("a: done", "b: failed", "c: pending"));
  EXPECT_THAT(zoo.rows[2].reason, HasSubstr("after b"));
}

TEST_F(BatchTest, AnInterruptReachesTheModelsAndResumeGoesOn) {
  fake.add_good_model("a");
  fake.add_model("b", "echo ready; exec sleep 1000");
  fake.add_good_model("c");
  recorder.on_run = [](const std::vector<RunningModel>& models) {
    if (!models.empty() && models[0].last_line == "ready") request_interrupt();
  };
  Zoo zoo = run();
  EXPECT_THAT(states(zoo), ElementsAre("a: done", "b: interrupted", "c: pending"));
  EXPECT_EQ(zoo.exit_code(), ExitCode::kInterrupted);
  clear_interrupt();
  fake.add_good_model("b");
  request.is_resumed = true;
  zoo = run();
  EXPECT_THAT(states(zoo), ElementsAre("a: done", "b: done", "c: done"));
  EXPECT_THAT(recorder.ended, ElementsAre("a", "b", "b", "c"));
}

TEST_F(BatchTest, TheReportIsWrittenAfterEachModel) {
  fake.add_good_model("a");
  fake.add_model("b", "cp \"$output/../zoo.json\" \"$output/../seen.json\"");
  run();
  const Zoo seen = zoo_from_json(Json::parse(fake.read("out/seen.json")));
  EXPECT_THAT(states(seen), ElementsAre("a: done", "b: pending"));
}

TEST_F(BatchTest, ShardsAreGatheredIntoOneReport) {
  for (const char* name : {"a", "b", "c"}) fake.add_good_model(name);
  request.shard = Shard{1, 2};
  run();
  request.shard.reset();
  EXPECT_THAT(states(gathered(plan(), ZooFolder::earlier_rows(request.output))),
              ElementsAre("a: done", "b: pending", "c: done"));
  request.shard = Shard{2, 2};
  run();
  request.shard.reset();
  EXPECT_THAT(states(gathered(plan(), ZooFolder::earlier_rows(request.output))),
              ElementsAre("a: done", "b: done", "c: done"));
  EXPECT_FALSE(fs::exists(fake.path("out/zoo.json"))) << "shards have reports of their own";
  request.seed = 3;
  EXPECT_THAT(gathered(plan(), ZooFolder::earlier_rows(request.output)).rows[0].reason,
              HasSubstr("another recipe"));
}

TEST_F(BatchTest, OneBatchAtATimeWritesIntoAFolder) {
  fake.add_good_model("a");
  const ZooFolder first(request.output, std::nullopt, ZooFolder::Earlier::kRefused);
  EXPECT_THROW(run(), Error);
  request.shard = Shard{1, 2};
  EXPECT_THROW(run(), Error);
}

TEST_F(BatchTest, ShardsWriteIntoOneFolderAtATimeEachOnce) {
  fake.add_good_model("a");
  const ZooFolder first(request.output, Shard{1, 2}, ZooFolder::Earlier::kRefused);
  request.shard = Shard{2, 2};
  EXPECT_NO_THROW(run());
  request.shard = Shard{1, 2};
  EXPECT_THROW(run(), Error);
}

TEST_F(BatchTest, AnEarlierBatchIsNotOverwrittenUnasked) {
  fake.add_good_model("a");
  run();
  EXPECT_THROW(run(), Error);
  request.is_overwriting = true;
  EXPECT_NO_THROW(run());
}

TEST_F(BatchTest, AFolderThatHoldsSomethingElseIsNotTouched) {
  fake.add_good_model("a");
  fake.write("out/thesis.tex", "years of work");
  EXPECT_THROW(run(), Error);
  request.is_resumed = true;
  EXPECT_THROW(run(), Error);
}

TEST_F(BatchTest, ALinkInPlaceOfAModelsFolderIsReplacedNotFollowed) {
  fake.add_good_model("a");
  fake.write("precious/thesis.tex", "years of work");
  fs::create_directories(request.output);
  fs::create_directory_symlink(fake.path("precious"), fake.path("out/a"));
  request.is_overwriting = true;
  EXPECT_THAT(states(run()), ElementsAre("a: done"));
  EXPECT_EQ(fake.read("precious/thesis.tex"), "years of work");
  EXPECT_FALSE(fs::exists(fake.path("precious/model.pt")));
}

TEST_F(BatchTest, AManifestsChangesReachTheirModelAlone) {
  fake.add_good_model("a");
  fake.write("zoo.json", R"({"models": [{"model": "zoo/a.pt", "name": "x", "set": ["seed=9"]},
                                        {"model": "zoo/a.pt", "name": "y"}]})");
  request.models = {fake.path("zoo.json").string()};
  run();
  EXPECT_THAT(fake.read("out/x/arguments.txt"), HasSubstr("--set=seed=9"));
  EXPECT_THAT(fake.read("out/y/arguments.txt"), Not(HasSubstr("seed=9")));
}

TEST_F(BatchTest, ARecipeThatAManifestSpoilsIsToldBeforeAnyWork) {
  fake.add_good_model("a");
  fake.write("zoo.json", R"({"models": [{"model": "zoo/a.pt", "set": ["seed=\"x\""]}]})");
  request.models = {fake.path("zoo.json").string()};
  try {
    plan();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kRecipe);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("/seed"), HasSubstr("for the model a")));
  }
}

}  // namespace
}  // namespace edgecompress
