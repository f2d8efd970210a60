// `compare`, and the pipeline example that is made of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// A workbench with the report of a run in out.
class Compare : public ::testing::Test {
 protected:
  void SetUp() override {
    bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}}};
    ASSERT_EQ(run_binary({"run", bench.write_recipe(), "--quiet"}).code, 0);
    report = bench.read_json("out/report.json");
  }
  std::string write(const std::string& name, const json& content) const {
    bench.write_text(name, content.dump());
    return bench.path(name).string();
  }

  Workbench bench;
  json report;
};

TEST_F(Compare, ARunWithItselfHasNotChanged) {
  const std::string out = bench.path("out").string();
  const BinaryResult result =
      run_binary({"compare", out, out + "/report.json", "--max-slowdown", "0",
                  "--max-accuracy-drop", "0", "--max-size-growth", "0", "--max-macs-growth", "0"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("1 prune_weights"), HasSubstr("+0.0 %"),
                                Not(HasSubstr("not comparable")), Not(HasSubstr("regression"))));
}

TEST_F(Compare, ARegressionIsNamedAndEndsWithSeven) {
  json worse = report;
  worse["final"]["size"]["zipped_bytes"] =
      report["final"]["size"]["zipped_bytes"].get<std::int64_t>() * 2;
  worse["environment"]["cpu"] = "another";
  const std::string before = write("before.json", report), after = write("after.json", worse);
  const BinaryResult result =
      run_binary({"compare", before, after, "--max-size-growth", "0.5", "--markdown"});
  EXPECT_EQ(result.code, 7);
  EXPECT_THAT(result.out, AllOf(HasSubstr("max_size_growth 1 is above 0.5"),
                                HasSubstr("not comparable"), HasSubstr("<details>")));
  EXPECT_EQ(run_binary({"compare", before, after}).code, 0) << "nothing was asked for";

  const json found =
      json::parse(run_binary({"compare", before, after, "--max-size-growth", "0.5", "--json"}).out);
  EXPECT_EQ(found["are_thresholds_met"], false);
  EXPECT_EQ(found["are_latencies_comparable"], false);
  EXPECT_EQ(found["thresholds"][0]["threshold"], "max_size_growth");
}

TEST_F(Compare, ReportsNeedNoLibTorch) {
  const std::string report_file = bench.path("out/report.json").string();
  const BinaryResult result =
      run_shell("LD_DEBUG=files \"$EDGECOMPRESS\" compare '" + report_file + "' '" + report_file +
                "' 2>&1 | grep -c 'calling init:.*libtorch'");
  EXPECT_EQ(result.out, "0\n");
}

TEST_F(Compare, SaysWhatIsNoReport) {
  const std::string good = bench.path("out/report.json").string();
  const auto refused = [&](const std::string& path, const std::string& message) {
    const BinaryResult result = run_binary({"compare", good, path});
    EXPECT_EQ(result.code, 5) << path;
    EXPECT_THAT(result.err, AllOf(HasSubstr("error: "), HasSubstr(message)));
    EXPECT_EQ(result.out, "");
  };
  refused(bench.path("absent.json").string(), "absent.json");
  refused(bench.path("").string(), "report.json: can't be read");
  bench.write_text("text.json", "no JSON");
  refused(bench.path("text.json").string(), "not valid JSON");
  refused(bench.path("recipe.json").string(), "not a report of a run");
  bench.write_text("deep.json", std::string(100000, '['));
  refused(bench.path("deep.json").string(), "nested deeper");
}

TEST_F(Compare, ModelsAreMeasuredSideBySide) {
  const std::string net = bench.path("net.pt").string(),
                    small = bench.path("out/model.pt").string();
  const BinaryResult unknown = run_binary({"compare", net, small});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("--input"));
  EXPECT_EQ(run_binary({"compare", net, bench.path("out").string()}).code, 2) << "of two kinds";

  std::string shape;
  for (const json& size : bench.recipe["model"]["inputs"][0]["shape"]) {
    shape += (shape.empty() ? "" : "x") + size.dump();
  }
  const BinaryResult result =
      run_binary({"compare", net, small, "--input", shape, "--data",
                  bench.path("recipe.json").string() + "#test", "--max-size-growth", "0",
                  "--max-macs-growth", "0", "--quiet", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const json last = json::parse(result.out)["sections"].back();
  const auto values_of = [&](const std::string& name) {
    for (const json& figure : last["figures"]) {
      if (figure["name"] == name) return figure["values"];
    }
    return json();
  };
  EXPECT_EQ(values_of("top1 (test)")[1], report["final"]["test"]["value"]);
  EXPECT_EQ(values_of("zipped")[1], report["final"]["size"]["zipped_bytes"]);
  EXPECT_EQ(values_of("MACs")[0], report["baseline"]["macs"]);
  EXPECT_GT(values_of("latency")[1].get<double>(), 0);
}

/// configs/ci/compress.sh, as a pipeline calls it.
class Pipeline : public Compare {
 protected:
  BinaryResult compress(const std::string& baseline, const std::string& more = "") const {
    const std::string script = EDGECOMPRESS_SOURCE_DIR "/configs/ci/compress.sh";
    return run_shell("export GITHUB_STEP_SUMMARY='" + bench.path("step.md").string() + "'; '" +
                     script + "' '" + bench.path("recipe.json").string() + "' '" + baseline +
                     "' '" + bench.path("new").string() + "' " + more);
  }
};

TEST_F(Pipeline, PassesWhatIsAsGoodAsTheBaseline) {
  const BinaryResult result =
      compress(bench.path("out/report.json").string(), "--max-accuracy-drop 0 --max-size-growth 0");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(bench.read_text("new/summary.md"), HasSubstr("No regressions"));
  EXPECT_EQ(bench.read_text("step.md"), bench.read_text("new/summary.md"));
}

TEST_F(Pipeline, FailsARegressionAndKeepsItsOutputs) {
  report["final"]["size"]["zipped_bytes"] = 1000;
  const BinaryResult result = compress(write("baseline.json", report), "--max-size-growth 0.1");
  EXPECT_EQ(result.code, 7);
  EXPECT_THAT(result.out, HasSubstr("max_size_growth"));
  EXPECT_TRUE(fs::exists(bench.path("new/model.pt")));
}

TEST_F(Pipeline, FailsAGateOfTheRecipe) {
  bench.recipe["gates"] = {{"max_size_ratio", 0.01}};
  bench.write_recipe();
  const BinaryResult result = compress(bench.path("out/report.json").string());
  EXPECT_EQ(result.code, 7);
  EXPECT_THAT(result.out, HasSubstr("A gate of the recipe was not met"));
}

TEST_F(Pipeline, StartsWithoutABaselineAndSaysHowToAcceptOne) {
  const BinaryResult result = compress(bench.path("absent.json").string());
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("report.json"));
}

TEST_F(Pipeline, PassesOnWhatTheRunFailedWith) {
  fs::remove(bench.path("net.pt"));
  EXPECT_EQ(compress(bench.path("out/report.json").string()).code, 4);
  bench.write_text("baseline.json", "{}");
  EXPECT_EQ(run_shell("'" EDGECOMPRESS_SOURCE_DIR "/configs/ci/compress.sh' recipe.json").code, 2);
}

}  // namespace
}  // namespace edgecompress::testing
