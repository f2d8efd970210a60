// The same recipe gives the same bytes, whatever the number of threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edgecompress/edgecompress.h"
#include "model/runtime.h"
#include "pipeline/networks.h"
#include "support/workbench.h"

namespace edgecompress {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Workbench;

constexpr std::int64_t kAnySeed = 3;

/// Without what a clock or the memory told.
json without_measurements(const json& report) {
  if (!report.is_structured()) return report;
  json kept = report.is_array() ? json::array() : json::object();
  if (report.is_array()) {
    for (const json& value : report) kept.push_back(without_measurements(value));
    return kept;
  }
  for (const auto& [name, value] : report.items()) {
    const auto has = [&name = name](const char* part) { return name.find(part) != name.npos; };
    const bool is_measured = has("second") || has("latency") || has("speedup") || has("_ms") ||
                             has("memory") || has("started");
    if (!is_measured) kept[name] = without_measurements(value);
  }
  return kept;
}

void run_with(const Workbench& bench, std::int64_t threads, bool deterministic,
              const std::string& output) {
  RunRequest request;
  request.recipe = bench.write_recipe();
  request.output = bench.path(output).string();
  request.threads = threads;
  request.deterministic = deterministic;
  request.seed = kAnySeed;
  run(request);
}

class Determinism : public ::testing::Test {
 protected:
  ~Determinism() override { set_threads(1); }
};

class DeterminismOf : public Determinism, public ::testing::WithParamInterface<std::string> {};

TEST_P(DeterminismOf, OneAndTwoThreadsGiveTheSameBytesIfAsked) {
  Workbench bench(GetParam());
  bench.recipe["evaluation"]["latency"] = {{"warm_up", 0}, {"repeats", 1}};
  bench.recipe["passes"] = {{{"pass", "prune_channels"}, {"ratio", 0.25}},
                            {{"pass", "finetune"},
                             {"epochs", 2},
                             {"optimizer", {{"name", "adamw"}}},
                             {"keep_best", false}},
                            {{"pass", "quantize_int8"}, {"mode", "static"}}};
  run_with(bench, 1, true, "one");
  run_with(bench, 2, true, "two");
  EXPECT_EQ(bench.read_text("one/model.pt"), bench.read_text("two/model.pt"));
  EXPECT_EQ(without_measurements(bench.read_json("one/report.json")),
            without_measurements(bench.read_json("two/report.json")));
}

/// Where they may not, the report says so.
TEST_F(Determinism, OtherBytesAreForetoldWithTheOperatorsThatMakeThem) {
  Workbench bench("residual_cnn");
  bench.recipe["passes"] = {{{"pass", "finetune"},
                             {"epochs", 2},
                             {"optimizer", {{"name", "adamw"}}},
                             {"keep_best", false}}};
  run_with(bench, 1, false, "one");
  run_with(bench, 2, false, "two");
  const auto notes = [&](const char* report) {
    return bench.read_json(report).at("notes").get<std::vector<std::string>>();
  };
  const auto warning = HasSubstr("with another number of threads than 2");
  EXPECT_THAT(notes("one/report.json"), Not(Contains(warning)));
  EXPECT_THAT(notes("two/report.json"), Contains(warning));
  if (bench.read_text("one/model.pt") != bench.read_text("two/model.pt")) {
    EXPECT_THAT(notes("two/report.json"), Contains(HasSubstr("aten::")));
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, DeterminismOf, ::testing::ValuesIn(testing::networks_of_runs()),
                         [](const auto& network) { return network.param; });

}  // namespace
}  // namespace edgecompress
