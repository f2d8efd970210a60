// A run that is cut short in its training, as a user goes on with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

/// Runs the recipe and sends the signal as soon as a checkpoint is there.
BinaryResult cut_short(const Workbench& bench, int signal) {
  std::thread watch;
  const BinaryResult result =
      run_binary({"run", bench.write_recipe()}, [&](const std::string&, int pid) {
        if (watch.joinable()) return;
        watch = std::thread([&bench, signal, pid] {
          const fs::path checkpoint = bench.path("out") / ".journal" / "2_finetune.checkpoint";
          while (!fs::exists(checkpoint) && kill(pid, 0) == 0) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
          kill(pid, signal);
        });
      });
  if (watch.joinable()) watch.join();
  return result;
}

/// The mlp has dropout: its random numbers have to go on as well.
const json kPasses = {
    {{"pass", "prune_weights"}, {"ratio", 0.3}},
    {{"pass", "finetune"}, {"epochs", 200}, {"optimizer", {{"name", "adamw"}, {"lr", 0.003}}}}};

TEST(Resume, AKilledRunGoesOnToTheSameBytes) {
  Workbench bench("mlp");
  bench.recipe["passes"] = kPasses;
  ASSERT_EQ(
      run_binary({"run", bench.write_recipe(), "--output", bench.path("whole").string()}).code, 0);
  ASSERT_EQ(cut_short(bench, SIGKILL).code, 128 + SIGKILL);
  EXPECT_FALSE(fs::exists(bench.path("out/model.pt")));

  const BinaryResult unasked = run_binary({"run", bench.write_recipe()});
  EXPECT_EQ(unasked.code, 8);
  EXPECT_THAT(unasked.err, HasSubstr("--resume"));

  const BinaryResult resumed = run_binary({"run", bench.write_recipe(), "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("2_finetune: goes on from its checkpoint"));
  EXPECT_EQ(bench.read_text("out/model.pt"), bench.read_text("whole/model.pt"));
  const json details = bench.read_json("out/report.json")["steps"][1]["details"];
  EXPECT_EQ(details, bench.read_json("whole/report.json")["steps"][1]["details"]);
  EXPECT_FALSE(fs::exists(bench.path("out/.journal")));
}

TEST(Resume, AnInterruptedRunSaysHowToGoOn) {
  Workbench bench("mlp");
  bench.recipe["passes"] = kPasses;
  const BinaryResult interrupted = cut_short(bench, SIGINT);
  EXPECT_EQ(interrupted.code, 130);
  EXPECT_THAT(interrupted.err, HasSubstr("The same command with --resume goes on"));
  EXPECT_TRUE(fs::exists(bench.path("out/model.pt"))) << "the first step was finished";

  const BinaryResult resumed = run_binary({"run", bench.write_recipe(), "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("goes on from its checkpoint"));
  EXPECT_EQ(bench.read_json("out/report.json")["steps"][1]["state"], "kept");
}

TEST(Resume, OtherOptionsStartAnewAndTheLogSaysWhy) {
  Workbench bench("mlp");
  bench.recipe["passes"] = kPasses;
  ASSERT_EQ(cut_short(bench, SIGKILL).code, 128 + SIGKILL);
  bench.recipe["passes"][1]["epochs"] = 2;
  const BinaryResult resumed = run_binary({"run", bench.write_recipe(), "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("/options/epochs was 200 and is 2"));
}

TEST(Resume, WithNothingToGoOnWithItRunsFromTheBeginning) {
  const Workbench bench;
  const BinaryResult result = run_binary({"run", bench.write_recipe(), "--resume"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("nothing to resume"));
}

}  // namespace
}  // namespace edgecompress::testing
