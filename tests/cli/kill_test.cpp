// A run that is killed at any instant, again and again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <random>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::milliseconds;

#ifdef __SANITIZE_ADDRESS__
constexpr int kKills = 10;  // the same code, several times as slow
#else
constexpr int kKills = 50;
#endif

/// The mlp has dropout: its random numbers have to go on as well.
const json kFourSteps = {
    {{"pass", "prune_weights"}, {"ratio", 0.3}},
    {{"pass", "lora"}, {"rank", 2}, {"epochs", 20}, {"optimizer", {{"lr", 0.003}}}},
    {{"pass", "distill"}, {"epochs", 40}, {"optimizer", {{"name", "adamw"}, {"lr", 0.003}}}},
    {{"pass", "quantize_int8"}, {"mode", "static"}}};

TEST(Kill, AtAnyInstantLosesNothingAndIsResumedToTheSameBytes) {
  Workbench bench("mlp");
  bench.recipe["passes"] = kFourSteps;
  const std::string recipe = bench.write_recipe();
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run_binary({"run", recipe, "--output", bench.path("whole").string()}).code, 0);
  const auto whole =
      std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start);
  const std::string expected = bench.read_text("whole/model.pt");

  std::mt19937 random(50);
  std::uniform_int_distribution<int> instant(0, static_cast<int>(whole.count()));
  const std::vector<std::string> command = {"run",
                                            recipe,
                                            "--resume",
                                            "--cache",
                                            bench.path("cache").string(),
                                            "--output",
                                            bench.path("out").string()};
  int finished = 0;
  for (int kills = 0; kills < kKills;) {
    const milliseconds delay(instant(random));
    const int code = kill_binary_after(command, delay);
    const bool is_killed = code == 128 + SIGKILL;
    ASSERT_TRUE(is_killed || code == 0)
        << "exit code " << code << " after " << delay.count() << " ms";
    kills += is_killed ? 1 : 0;
    const bool is_written = fs::exists(bench.path("out/model.pt"));
    ASSERT_TRUE(is_killed || is_written);
    if (is_written) {
      ASSERT_EQ(bench.read_text("out/model.pt"), expected) << "after " << kills << " kills";
    }
    if (is_killed) continue;
    ++finished;
    fs::remove_all(bench.path("out"));
    fs::remove_all(bench.path("cache"));
  }
  ASSERT_EQ(run_binary(command).code, 0);
  EXPECT_EQ(bench.read_text("out/model.pt"), expected);
  RecordProperty("finished_between", finished);
}

}  // namespace
}  // namespace edgecompress::testing
