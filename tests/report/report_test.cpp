#include "report/report.h"

#include <gmock/gmock.h>

#include <cmath>

#include "report/format.h"

namespace edgecompress {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Score top1(const char* data, std::int64_t correct, std::int64_t samples) {
  return {data,    "top1",  static_cast<double>(correct) / static_cast<double>(samples),
          samples, correct, true};
}

Evaluation measured(std::int64_t correct, std::int64_t bytes, double milliseconds) {
  Evaluation evaluation;
  evaluation.validation = top1("validation", correct, 100);
  evaluation.test = top1("test", correct * 9, 900);
  evaluation.fidelity = Fidelity{"test", 900, 0.998765, 31.26, 0.987};
  evaluation.size = {bytes, bytes / 2, 272474, 136237, bytes};
  evaluation.latency =
      Latency{milliseconds, milliseconds * 0.9, milliseconds * 1.1, 1, 1, 10, 50, "frozen"};
  return evaluation;
}

StepRecord step(const char* pass) {
  StepRecord record;
  record.pass = pass;
  return record;
}

/// A run of four steps: kept, unchanged, rolled back, kept.
Report example() {
  Report report;
  report.name = "resnet20-edge";
  report.seed = 7;
  report.started = "2026-01-02T03:04:05Z";
  report.seconds = 245;
  report.environment = {"0.1.0",    "1.13.1", "onednn", "A CPU", "OpenBLAS",
                        "SkylakeX", 2,        2,        "Linux"};
  report.sha256 = {{"model", "ab12"}, {"recipe", "cd34"}};
  report.notes = {"no validation set: choices were made on test"};
  report.not_canonical = {"layer <script>: a loop"};
  report.baseline = measured(92, 1100000, 2.0);
  report.files = {{"model", "model.pt"}};
  report.best_step = "4 quantize_int8";

  StepRecord pruned = step("prune_weights");
  pruned.options = {{"ratio", 0.5}};
  pruned.note = "half of the weights are zero";
  pruned.counts = {{"weights_zeroed", 136237}};
  pruned.seconds = 0.25;
  pruned.evaluation = measured(91, 1100000, 2.0);
  pruned.evaluation->speedup = 1.0;
  pruned.details["layers"] = Json::parse(R"([{"layer": "conv1", "zeroed": 216},
                                             {"layer": "a|b", "zeroed": 5}])");
  pruned.details["losses"] = {0.5, 0.25};

  StepRecord folded = step("fold_batch_norm");
  folded.state = StepState::kUnchanged;
  folded.note = "there is no batch norm";

  StepRecord tuned = step("finetune");
  tuned.state = StepState::kRolledBack;
  tuned.note = "max_accuracy_drop 0.1 is above 0.02";
  tuned.evaluation = measured(82, 1100000, 2.0);
  tuned.gates = {{"max_accuracy_drop", 0.02, 0.1, false, "on validation, top1"}};

  StepRecord quantized = step("quantize_int8");
  quantized.evaluation = measured(91, 286000, 0.8);
  quantized.evaluation->speedup = 2.5;
  report.steps = {pruned, folded, tuned, quantized};
  report.gates = {{"max_size_ratio", 0.3, 0.26, true, ""},
                  {"min_speedup", 3, std::nan(""), false, "latency was not measured"}};
  return report;
}

TEST(Report, EndsWithTheLastKeptStep) {
  Report report = example();
  EXPECT_EQ(report.final_evaluation().size.file_bytes, 286000);
  report.steps[3].state = StepState::kRolledBack;
  report.steps[2].state = StepState::kFailed;
  EXPECT_EQ(report.final_evaluation().validation->correct, 91);
  EXPECT_EQ(report.final_evaluation().size.file_bytes, 1100000);
  report.steps.clear();
  EXPECT_EQ(report.final_evaluation().validation->correct, 92);
}

TEST(Report, IsMetOnlyIfEveryGateIs) {
  Report report = example();
  EXPECT_FALSE(report.gates_met());
  report.gates.pop_back();
  EXPECT_TRUE(report.gates_met());
  report.gates.clear();
  EXPECT_TRUE(report.gates_met());
}

TEST(ReportJson, HoldsEveryStepAndSaysNullWhereNothingWasMeasured) {
  const Json json = Json::parse(to_json(example()).dump());
  EXPECT_EQ(json.at("schema_version"), 1);
  ASSERT_EQ(json.at("steps").size(), 4u);
  EXPECT_EQ(json["steps"][2]["state"], "rolled_back");
  EXPECT_EQ(json["steps"][2]["gates"][0]["is_met"], false);
  EXPECT_EQ(json["steps"][0]["evaluation"]["validation"]["correct"], 91);
  EXPECT_EQ(json["steps"][0]["details"]["losses"][1], 0.25);
  EXPECT_TRUE(json["steps"][1]["evaluation"].is_null());
  EXPECT_TRUE(json["baseline"]["speedup"].is_null());
  EXPECT_TRUE(json["baseline"]["macs"].is_null());
  EXPECT_TRUE(json["baseline"]["peak_memory_bytes"].is_null()) << "0 means unknown";
  EXPECT_TRUE(json["gates"][1]["found"].is_null()) << "JSON has no NaN";
  EXPECT_EQ(json["final"]["size"]["file_bytes"], 286000);
  EXPECT_EQ(json["environment"]["quantized_engine"], "onednn");
}

TEST(ReportConsole, ShowsEveryStepWithItsNumbers) {
  const std::string text = to_console(example());
  EXPECT_THAT(text, HasSubstr("top1 (validation / test)"));
  // 286 of 1100 kB; 143 of 550 zipped; 2.0 ms against 0.8 ms.
  const auto line = [&](const std::string& name) {
    const std::size_t begin = text.find("\n" + name) + 1;
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  for (const char* cell : {"kept", "91.0 % / 91.0 %", "98.7 %, 31.3 dB", "286 kB (0.26x)",
                           "143 kB (0.26x)", "272 k (136 k)", "0.800 ms", "2.50x"}) {
    EXPECT_THAT(line("4 quantize_int8"), HasSubstr(cell));
  }
  EXPECT_THAT(line("original"), HasSubstr("2.00 ms"));
  EXPECT_THAT(line("1 prune_weights"), HasSubstr("250 ms"));
  EXPECT_THAT(line("3 finetune"), HasSubstr("rolled_back"));
  EXPECT_THAT(line("2 fold_batch_norm"), HasSubstr("–"));
  EXPECT_THAT(line("2 fold_batch_norm"), Not(HasSubstr("kB")));
  EXPECT_THAT(line("min_speedup"), HasSubstr("NO"));
  EXPECT_THAT(text, HasSubstr("latency: median of 50 repeats"));
  EXPECT_THAT(text, HasSubstr("top1: 900 samples of test"));
  EXPECT_THAT(text,
              HasSubstr("model.pt, is that of step 4 quantize_int8. The run took 4 min 05 s"));
}

TEST(ReportConsole, SaysWhenNoStepWasKept) {
  Report report;
  EXPECT_THAT(to_console(report), HasSubstr("The model is the original: no step was kept."));
  EXPECT_THAT(to_console(report), Not(HasSubstr("0 B"))) << "nothing was measured";
}

TEST(ReportMarkdown, HoldsStepsFindingsGatesAndHowItWasMeasured) {
  const std::string text = to_markdown(example());
  for (const char* part :
       {"# resnet20-edge\n", "| 4 quantize_int8 | kept |", "## Gates\n",
        "| max_size_ratio | 0.3 | 0.26 | yes |", "| min_speedup | 3 | – | NO |",
        "### 3 finetune: rolled_back\n", "max_accuracy_drop 0.1 is above 0.02",
        "- weights_zeroed: 136237\n", "| conv1 | 216 |", "| a\\|b | 5 |", "losses: 0.5, 0.25\n",
        "top1 on validation: 91.0 % (91 of 100)", "10th percentile 1.80 ms", "seed 7, started 2026",
        "SHA-256 of recipe: cd34", "LibTorch 1.13.1, quantized engine onednn",
        "no validation set: choices were made on test"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(ReportMarkdown, DrawsCurves) {
  Report report = example();
  Json& details = report.steps[0].details;
  details["losses"] = {2.0, 1.0, 0.5, 0.25};
  details["flat"] = {0.5, 0.5, 0.5};
  details["sizes"] = {3, 2, 1};
  details["long"] = Json::array();
  for (int i = 0; i < 120; ++i) details["long"].push_back(i < 60 ? 0.0 : 1.0);
  const std::string text = to_markdown(report);
  EXPECT_THAT(text, HasSubstr("losses: █▄▂▁ 2, 1, 0.5, 0.25\n"));
  EXPECT_THAT(text, HasSubstr("flat: ▁▁▁ 0.5, 0.5, 0.5\n"));
  EXPECT_THAT(text, HasSubstr("sizes: 3, 2, 1\n"));
  std::string drawn = "long: ";
  for (int cell = 0; cell < 60; ++cell) drawn += cell < 30 ? "▁" : "█";
  EXPECT_THAT(text, HasSubstr(drawn + " 0, 0"));
}

TEST(ReportMarkdown, DoesNotLetNamesBecomeMarkup) {
  const std::string text = to_markdown(example());
  EXPECT_THAT(text, HasSubstr("layer &lt;script>: a loop"));
  EXPECT_THAT(text, Not(HasSubstr("<script>")));
}

TEST(ReportMarkdown, CutsLongTables) {
  Report report = example();
  Json rows = Json::array();
  for (int i = 0; i < 60; ++i) rows.push_back({{"layer", "layer" + std::to_string(i)}});
  report.steps[0].details["layers"] = rows;
  const std::string text = to_markdown(report);
  EXPECT_THAT(text, HasSubstr("| layer49 |"));
  EXPECT_THAT(text, Not(HasSubstr("| layer50 |")));
  EXPECT_THAT(text, HasSubstr("and 10 more in the JSON report"));
}

TEST(ReportMarkdown, DrawsWhatIsLeft) {
  Report report = example();
  report.steps[0].details["layers"] = Json::parse(R"([{"layer": "conv1", "before": 32, "after": 16},
                      {"layer": "conv2", "before": 64, "after": 63},
                      {"layer": "conv3", "before": 64, "after": 1},
                      {"layer": "fc", "before": 10, "after": 10}])");
  report.steps[0].details["repair"] =
      Json::parse(R"([{"layers": 3, "error_before": 0.8, "error_after": 0.2}])");
  const std::string text = to_markdown(report);
  for (const char* part :
       {"layers: 90 of 170 left in 4 rows:", "| layer | left | before | after |",
        "| conv1 | ████████░░░░░░░░ | 32 | 16 |", "| conv2 | ███████████████░ | 64 | 63 |",
        "| conv3 | █░░░░░░░░░░░░░░░ | 64 | 1 |", "| fc | ████████████████ | 10 | 10 |",
        "| layers | error_left | error_before | error_after |",
        "| 3 | ████░░░░░░░░░░░░ | 0.8 | 0.2 |"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("<details>")));
}

TEST(ReportMarkdown, FoldsTheWidthsOfManyLayers) {
  Report report = example();
  Json rows = Json::array();
  for (int i = 0; i < 200; ++i)
    rows.push_back({{"layer", "layer" + std::to_string(i)}, {"before", 8}, {"after", 4}});
  report.steps[0].details["layers"] = rows;
  const std::string text = to_markdown(report);
  EXPECT_THAT(text, HasSubstr("<summary>layers: 800 of 1600 left in 200 rows</summary>\n\n|"));
  EXPECT_THAT(text, HasSubstr("| layer199 | ████████░░░░░░░░ | 8 | 4 |\n\n</details>\n"));
}

TEST(ReportMarkdown, DrawsNothingWhereTheMembersAreNoNumbers) {
  Report report = example();
  report.steps[0].details["layers"] =
      Json::parse(R"([{"before": "a", "after": 1}, {"before": 2, "after": null}])");
  EXPECT_THAT(to_markdown(report), HasSubstr("\n| before | after |\n"));
}

TEST(ReportMarkdown, ListsSentencesOneALine) {
  Report report = example();
  report.steps[0].details["not_repaired"] = {"conv1: too wide", "conv2: no samples"};
  report.steps[0].details["layers"] = Json::parse(R"([{"layer": "a", "shape": [3, 4]}])");
  const std::string text = to_markdown(report);
  EXPECT_THAT(text, HasSubstr("not_repaired:\n\n- conv1: too wide\n- conv2: no samples\n"));
  EXPECT_THAT(text, HasSubstr("| a | 3, 4 |"));
}

TEST(Format, ShowsAsManyDigitsAsTheSamplesTellApart) {
  EXPECT_EQ(score_text(top1("test", 854, 932)), "91.6 %");
  EXPECT_EQ(score_text(top1("test", 9163, 10000)), "91.63 %");
  EXPECT_EQ(score_with_counts(top1("test", 854, 932)), "91.6 % (854 of 932)");
  EXPECT_EQ(score_text({"test", "mse", 0.00123456, 10, std::nullopt, false}), "0.001235");
  EXPECT_EQ(ratio_text(1, 0), kMissing);
  EXPECT_EQ(milliseconds_text(0.01234), "0.012 ms");
  EXPECT_EQ(milliseconds_text(123.4), "123 ms");
  EXPECT_EQ(number_text(136237), "136237");
  EXPECT_EQ(number_text(0.123456789), "0.1235");
  EXPECT_EQ(number_text(12345.678), "12345.7");
  EXPECT_EQ(number_text(std::nan("")), kMissing);
  Fidelity fidelity{"test", 10, 0.99876, 31.26, std::nullopt};
  EXPECT_EQ(fidelity_text(fidelity), "cos 0.9988, 31.3 dB");
}

}  // namespace
}  // namespace edgecompress
