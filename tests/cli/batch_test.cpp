// Batches through the real binary, on models that are bad in every way.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <torch/csrc/jit/api/module.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "cli/batch_view.h"
#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kHanging = R"(
def forward(self, x):
    i = x.size(0)
    while i > 0:
        i = i % 1000 + 1
    return x
)";
constexpr const char* kHungry = R"(
def forward(self, x):
    kept = [x]
    while len(kept) > 0:
        kept.append(torch.ones([16, 1024, 1024]) + x.sum())
    return x
)";
/// LibTorch does not check the indices.
constexpr const char* kCrashing = R"(
def forward(self, x):
    far = torch.full([1, 1], 1 << 45, dtype=4)
    return x + torch._sparse_coo_tensor_unsafe(far, torch.ones([1]), [4]).to_dense().sum()
)";

class BatchCommand : public ::testing::Test {
 protected:
  BatchCommand() {
    // Under AddressSanitizer a crash would otherwise be an exit code of its own.
    const char* options = getenv("ASAN_OPTIONS");
    setenv("ASAN_OPTIONS", (std::string(options ? options : "") + ":handle_segv=0").c_str(), 1);
    fs::create_directories(bench.path("zoo"));
    bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}}};
    bench.recipe["evaluation"]["latency"] = {{"repeats", 2}, {"warm_up", 1}};
  }
  void add_good(const std::string& name) const {
    fs::copy_file(bench.path("net.pt"), bench.path("zoo/" + name + ".pt"));
  }
  void add(const std::string& name, const std::string& forward) const {
    torch::jit::Module module("Bad");
    module.define(forward);
    module.save(bench.path("zoo/" + name + ".pt").string());
  }
  BinaryResult run(const std::vector<std::string>& more,
                   const std::function<void(const std::string&, int)>& on_stderr = {}) const {
    std::vector<std::string> arguments = {"batch",    bench.path("zoo").string(),
                                          "--recipe", bench.write_recipe(),
                                          "--output", bench.path("small").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_binary(arguments, on_stderr);
  }
  std::map<std::string, json> rows() const {
    std::map<std::string, json> found;
    const json zoo = bench.read_json("small/zoo.json");
    for (const json& row : zoo.at("models")) found[row.at("name")] = row;
    return found;
  }

  Workbench bench;
};

TEST_F(BatchCommand, EachBadModelIsToldWithItsReasonAndTheGoodOnesAreDone) {
  add_good("good");
  bench.write_text("zoo/corrupt.pt", "this is no model");
  add("hanging", kHanging);
  add("hungry", kHungry);
  add("crashing", kCrashing);
  const BinaryResult result =
      run({"--jobs", "2", "--threads", "2", "--memory", "1500MB", "--time-limit", "20s", "--grace",
           "100ms", "--junit", bench.path("junit.xml").string()});
  EXPECT_EQ(result.code, 6) << result.err;
  auto found = rows();
  ASSERT_EQ(found.size(), 5);
  EXPECT_EQ(found["good"]["state"], "done") << found["good"];
  EXPECT_TRUE(fs::exists(bench.path("small/good/model.pt")));
  EXPECT_EQ(found["good"]["metric"], "top1");
  EXPECT_GT(found["good"]["bytes_before"].get<int>(), 0);
  EXPECT_EQ(found["corrupt"]["state"], "bad model") << found["corrupt"];
  EXPECT_THAT(found["corrupt"]["reason"].get<std::string>(), HasSubstr("corrupt.pt"));
  EXPECT_EQ(found["hanging"]["state"], "timed out") << found["hanging"];
  EXPECT_EQ(found["hungry"]["state"], "out of memory") << found["hungry"];
  EXPECT_EQ(found["crashing"]["state"], "crashed") << found["crashing"];
  EXPECT_EQ(found["crashing"]["signal"], SIGSEGV);
  EXPECT_THAT(result.err, HasSubstr("[5/5] "));
  EXPECT_THAT(result.out,
              HasSubstr("1 done, 1 bad model, 1 crashed, 1 timed out, 1 out of memory"));
  EXPECT_THAT(bench.read_text("junit.xml"), HasSubstr("tests=\"5\" failures=\"0\" errors=\"4\""));
}

TEST_F(BatchCommand, JobsAndThreadsChangeNoByte) {
  add_good("a");
  add_good("b");
  ASSERT_EQ(run({"--jobs", "1", "--threads", "1"}).code, 0);
  const std::string first = bench.read_text("small/a/model.pt");
  ASSERT_EQ(run({"--jobs", "2", "--threads", "4", "--overwrite"}).code, 0);
  EXPECT_EQ(bench.read_text("small/a/model.pt"), first);
  EXPECT_EQ(bench.read_text("small/b/model.pt"), first);
}

TEST_F(BatchCommand, AnInterruptLeavesNoProcessAndResumeGoesOn) {
  add_good("a");
  add("b_hanging", kHanging);
  bool is_sent = false;
  const BinaryResult cut = run({"--grace", "100ms"}, [&](const std::string& err, int pid) {
    if (is_sent || err.find("[1/2] a: done") == std::string::npos) return;
    is_sent = true;
    while (!fs::exists(bench.path("small/b_hanging/batch.log")) && kill(pid, 0) == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    kill(pid, SIGINT);
  });
  EXPECT_EQ(cut.code, 130) << cut.err;
  EXPECT_EQ(rows()["b_hanging"]["state"], "interrupted");
  fs::remove(bench.path("zoo/b_hanging.pt"));
  add_good("c");
  const BinaryResult resumed = run({"--resume"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, AllOf(HasSubstr("[2/2] c: done"), ::testing::Not(HasSubstr("a: done"))));
}

TEST_F(BatchCommand, AMissedGateIsExitCode7) {
  add_good("a");
  bench.recipe["gates"] = {{"max_size_ratio", 0.01}};
  const BinaryResult result = run({});
  EXPECT_EQ(result.code, 7) << result.err;
  EXPECT_THAT(rows()["a"]["reason"].get<std::string>(), HasSubstr("max_size_ratio is"));
  EXPECT_TRUE(fs::exists(bench.path("small/a/model.pt")));
}

TEST_F(BatchCommand, DryRunListsAndWritesNothing) {
  add_good("a");
  add_good("b");
  const BinaryResult result = run({"--dry-run", "--shard", "2/2"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("zoo/b.pt"), HasSubstr("1 models")));
  EXPECT_FALSE(fs::exists(bench.path("small")));
}

TEST_F(BatchCommand, WrongUseIsToldBeforeAnyWork) {
  add_good("a");
  EXPECT_EQ(run({"--shard", "3/2"}).code, 2);
  EXPECT_EQ(run({"--resume", "--overwrite"}).code, 2);
  EXPECT_EQ(run({"--detach"}).code, 2) << "there is nothing to detach from without --slurm";
  EXPECT_EQ(run({"--time-limit", "3 moons"}).code, 2);
  bench.recipe["passes"][0]["ratio"] = 3;
  const BinaryResult wrong = run({});
  EXPECT_EQ(wrong.code, 3);
  EXPECT_THAT(wrong.err, HasSubstr("/passes/0/ratio"));
  EXPECT_FALSE(fs::exists(bench.path("small")));
}

TEST(LiveTable, ShowsWhatRunsAndNothingThatSteersATerminal) {
  const std::vector<RunningModel> models = {{"net", 61, 250'000'000, "info: \033[31mred\tstep"}};
  EXPECT_THAT(live_table(models, 3, 8, 100),
              ElementsAre("3 of 8 models, 1 running",
                          "  net                       1 min 01 s    250 MB  info:  [31mred step"));
  for (const std::string& line : live_table(models, 3, 8, 20)) EXPECT_LE(line.size(), 20);
}

}  // namespace
}  // namespace edgecompress::testing
