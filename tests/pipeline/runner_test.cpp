#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "edgecompress/edgecompress.h"
#include "int8/int8_engine.h"
#include "model/model.h"
#include "model/runtime.h"
#include "support/workbench.h"

namespace edgecompress {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Workbench;

Outcome run_recipe(const Workbench& bench) {
  RunRequest request;
  request.recipe = bench.write_recipe();
  return run(request);
}

Error failure_of(const Workbench& bench) {
  try {
    run_recipe(bench);
  } catch (const Error& error) {
    return error;
  }
  return Error(ExitCode::kDone, "nothing was thrown");
}

const json kPruneHalf = {{"pass", "prune_weights"}, {"ratio", 0.5}};

std::vector<std::string> states(const json& report) {
  std::vector<std::string> result;
  for (const json& step : report.at("steps")) result.push_back(step.at("state"));
  return result;
}

TEST(Runner, WithoutPassesTheOriginalIsWrittenByteForByte) {
  const Workbench bench;
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kDone);
  EXPECT_EQ(bench.read_text("out/model.pt"), bench.read_text("net.pt"));
}

TEST(Runner, WritesWhatTheReportNames) {
  Workbench bench;
  bench.recipe["passes"] = {kPruneHalf};
  run_recipe(bench);
  const json report = bench.read_json("out/report.json");
  for (const json& file : report.at("files")) {
    EXPECT_TRUE(std::filesystem::exists(bench.path("out") / file.get<std::string>())) << file;
  }
  std::size_t entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(bench.path("out"))) {
    entries += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(entries, report.at("files").size());
  EXPECT_EQ(report.at("sha256").count("data/train"), 1U);
}

TEST(Runner, MeasuresEveryRow) {
  Workbench bench;
  bench.recipe["passes"] = {kPruneHalf};
  run_recipe(bench);
  const json report = bench.read_json("out/report.json");
  const json& step = report.at("steps").at(0);
  EXPECT_EQ(step.at("state"), "kept");
  const json& evaluation = step.at("evaluation");
  EXPECT_EQ(evaluation.at("validation").at("samples"), 24);  // a quarter of 96
  EXPECT_EQ(evaluation.at("test").at("samples"), 64);
  EXPECT_GT(evaluation.at("latency").at("median_ms"), 0);
  EXPECT_LT(evaluation.at("size").at("nonzero_parameters"),
            report.at("baseline").at("size").at("nonzero_parameters"));
  EXPECT_LT(evaluation.at("fidelity").at("cosine"), 1);
}

TEST(Runner, SameRecipeAndSeedGiveTheSameModel) {
  Workbench bench;
  bench.recipe["passes"] = {kPruneHalf};
  run_recipe(bench);
  bench.recipe["output"]["directory"] = "again";
  run_recipe(bench);
  EXPECT_EQ(bench.read_text("out/model.pt"), bench.read_text("again/model.pt"));
}

TEST(Runner, MeasuresLatencyForAStepThatHasItAsTarget) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "prune_channels"}, {"latency", 0.9}}};
  run_recipe(bench);
  const json report = bench.read_json("out/report.json");
  const json& step = report.at("steps").at(0);
  EXPECT_EQ(step.at("state"), "kept") << step.at("note");
  EXPECT_GT(step.at("counts").at("latency_share"), 0);
  EXPECT_THAT(step.at("note").get<std::string>(), HasSubstr("% of the latency, as measured"));
}

TEST(Runner, StepThatMissesItsGateIsRolledBack) {
  Workbench bench;
  bench.recipe["passes"] = {
      {{"pass", "prune_weights"}, {"ratio", 0.9}, {"gate", {{"max_size_ratio", 0.01}}}},
      {{"pass", "fold_batch_norm"}}};
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kDone);  // what was rolled back is mended
  const json report = bench.read_json("out/report.json");
  EXPECT_EQ(report.at("steps").at(0).at("state"), "rolled_back");
  EXPECT_FALSE(report.at("steps").at(0).at("gates").at(0).at("is_met"));
  EXPECT_THAT(report.at("steps").at(0).at("note").get<std::string>(), HasSubstr("max_size_ratio"));
  // The second step began from the original: nothing is pruned in what was written.
  EXPECT_GE(report.at("steps").at(1).at("evaluation").at("fidelity").at("cosine"), 0.9999);
}

TEST(Runner, GateThatSaysStopEndsTheRun) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "prune_weights"},
                             {"ratio", 0.5},
                             {"gate", {{"max_size_ratio", 0.01}, {"on_fail", "stop"}}}},
                            {{"pass", "fold_batch_norm"}}};
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kGate);
  EXPECT_EQ(bench.read_json("out/report.json").at("steps").size(), 1U);
  EXPECT_EQ(bench.read_text("out/model.pt"), bench.read_text("net.pt"));
}

TEST(Runner, GateThatSaysContinueKeepsTheStepAndIsReported) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "prune_weights"},
                             {"ratio", 0.5},
                             {"gate", {{"max_size_ratio", 0.01}, {"on_fail", "continue"}}}}};
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kGate);
  EXPECT_THAT(states(bench.read_json("out/report.json")), ::testing::ElementsAre("kept"));
}

/// A run that ends with less than it had on the way gives back the best of the way.
TEST(Runner, LastStepsThatMissTheRunsGatesAreLeftOut) {
  Workbench bench;
  bench.recipe["passes"] = {
      {{"pass", "prune_weights"}, {"ratio", 0.9}},
      {{"pass", "lora"}, {"rank", 16}, {"merge", false}, {"epochs", 1}, {"keep_best", false}}};
  bench.recipe["gates"] = {{"max_size_ratio", 1.0}};  // adapters that stay apart add to the file
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kDone);
  const json report = bench.read_json("out/report.json");
  EXPECT_THAT(states(report), ::testing::ElementsAre("kept", "rolled_back"));
  EXPECT_EQ(report.at("best_step"), "1 prune_weights");
  EXPECT_THAT(report.at("steps").at(1).at("note").get<std::string>(),
              HasSubstr("left out at the end"));
  EXPECT_EQ(bench.read_text("out/model.pt").size(),
            report.at("final").at("size").at("file_bytes").get<std::size_t>());
}

TEST(Runner, MissedGateOfTheRunStillWritesTheOutputs) {
  Workbench bench;
  bench.recipe["passes"] = {kPruneHalf};
  bench.recipe["gates"] = {{"max_size_ratio", 0.01}};
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kGate);
  EXPECT_FALSE(bench.read_json("out/report.json").at("gates").at(0).at("is_met"));
  EXPECT_TRUE(std::filesystem::exists(bench.path("out/model.pt")));
}

TEST(Runner, NothingToDoIsNoFailure) {
  Workbench bench("mlp");
  bench.recipe["passes"] = {{{"pass", "fold_batch_norm"}}};
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kDone);
  EXPECT_THAT(states(bench.read_json("out/report.json")), ::testing::ElementsAre("unchanged"));
  EXPECT_EQ(bench.read_text("out/model.pt"), bench.read_text("net.pt"));
}

TEST(Runner, WithoutDataFidelityIsMeasuredOnRandomInputs) {
  Workbench bench;
  bench.recipe.erase("data");
  bench.recipe["passes"] = {kPruneHalf};
  bench.recipe["gates"] = {{"max_accuracy_drop", 1.0}};
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kDone);
  const json report = bench.read_json("out/report.json");
  EXPECT_EQ(report.at("steps").at(0).at("evaluation").at("fidelity").at("samples"), 32);
  EXPECT_THAT(report.at("notes").dump(), HasSubstr("random inputs"));
  EXPECT_THAT(report.at("gates").dump(), HasSubstr("no labels"));
}

TEST(Runner, ShapesOfInputsAreTakenFromTheDataWhereTheRecipeGivesNone) {
  Workbench bench;
  bench.recipe["model"].erase("inputs");
  bench.recipe["passes"] = {kPruneHalf};
  run_recipe(bench);
  const json report = bench.read_json("out/report.json");
  EXPECT_GT(report.at("baseline").at("latency").at("median_ms"), 0);
}

TEST(Runner, FullFolderIsRefusedBeforeAnyWork) {
  Workbench bench;
  std::filesystem::create_directory(bench.path("out"));
  bench.write_text("out/precious.txt", "mine");
  bench.recipe["model"]["path"] = "absent.pt";  // would be the next to fail
  const Error error = failure_of(bench);
  EXPECT_EQ(error.code(), ExitCode::kOutput);
  EXPECT_THAT(error.hint(), HasSubstr("--overwrite"));
  EXPECT_EQ(bench.read_text("out/precious.txt"), "mine");
}

TEST(Runner, TeacherThatIsNotThereIsToldBeforeAnyWork) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "distill"}, {"teacher", "absent.pt"}, {"epochs", 1}}};
  const Error error = failure_of(bench);
  EXPECT_EQ(error.code(), ExitCode::kModel);
  EXPECT_THAT(error.what(), HasSubstr("/passes/0/teacher"));
  EXPECT_FALSE(std::filesystem::exists(bench.path("out")));
  bench.recipe["passes"][0] = {{"pass", "distill"}, {"other_teachers", {"absent.pt"}}};
  EXPECT_THAT(failure_of(bench).what(), HasSubstr("/passes/0/other_teachers/0"));
  bench.recipe["passes"][0] = {{"pass", "distill"}, {"student", {{"from", "absent.pt"}}}};
  EXPECT_THAT(failure_of(bench).what(), HasSubstr("/passes/0/student/from"));
  bench.recipe["passes"][0] = {{"pass", "quantize_int8"}, {"training", {{"teacher", "absent.pt"}}}};
  EXPECT_THAT(failure_of(bench).what(), HasSubstr("/passes/0/training/teacher"));
}

TEST(Runner, TeachersAreAskedOnceAndWhatTheySaidIsGoneAfterwards) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "distill"},
                             {"student", {{"from", "teacher"}, {"width", 0.5}}},
                             {"features", {{{"loss", "angle"}}}},
                             {"epochs", 2}}};
  run_recipe(bench);
  const json step = bench.read_json("out/report.json").at("steps").at(0);
  EXPECT_THAT(step.at("details").at("teachers_asked").get<std::string>(), HasSubstr("asked once"));
  EXPECT_THAT(step.at("note").get<std::string>(), HasSubstr("asked once"));
  EXPECT_EQ(step.at("details").at("features").at(0).at("student"), "the last features");
  EXPECT_FALSE(std::filesystem::exists(bench.path("out/steps")));
  EXPECT_NO_THROW(load_as_stored(bench.path("out/model.pt")));
}

TEST(Runner, OptionsThatDoNotFitTogetherAreToldBeforeAnyWork) {
  Workbench bench;
  const Json limits = {{{"layers", {"conv("}}, {"max_ratio", 0.1}}};
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}},
                            {{"pass", "prune_channels"}, {"layer_limits", limits}}};
  const Error error = failure_of(bench);
  EXPECT_EQ(error.code(), ExitCode::kRecipe);
  EXPECT_THAT(error.what(), HasSubstr("/passes/1: layer_limits/0/layers/0"));
  EXPECT_FALSE(std::filesystem::exists(bench.path("out")));
}

TEST(Runner, MeasuresOnTheEngineThatTheRecipeNames) {
  initialise_runtime();
  const std::string before = int8_engine();
  for (const std::string& engine : int8_engines()) {
    Workbench bench;
    bench.recipe["passes"] = {{{"pass", "quantize_int8"}, {"engine", engine}}};
    run_recipe(bench);
    const json report = bench.read_json("out/report.json");
    EXPECT_EQ(report.at("environment").at("quantized_engine"), engine);
    EXPECT_EQ(report.at("steps").at(0).at("details").at("engine"), engine);
    EXPECT_EQ(int8_engine(), before);
  }
}

TEST(Runner, FailedStepKeepsTheStepsBeforeIt) {
  Workbench bench;
  bench.recipe["passes"] = {
      kPruneHalf,
      {{"pass", "finetune"}, {"epochs", 3}, {"optimizer", {{"name", "sgd"}, {"lr", 1e30}}}}};
  const Error error = failure_of(bench);
  EXPECT_EQ(error.code(), ExitCode::kPass) << error.what();
  EXPECT_THAT(error.what(), HasSubstr("step 2 finetune"));
  EXPECT_THAT(error.hint(), HasSubstr(bench.path("out").string()));
  const json report = bench.read_json("out/report.json");
  EXPECT_THAT(states(report), ::testing::ElementsAre("kept", "failed"));
  EXPECT_EQ(report.at("best_step"), "1 prune_weights");
  EXPECT_NO_THROW(load_as_stored(bench.path("out/model.pt")));
}

TEST(Runner, FailureInTheFirstStepLeavesNothing) {
  Workbench bench;
  bench.recipe["passes"] = {
      {{"pass", "finetune"}, {"epochs", 3}, {"optimizer", {{"name", "sgd"}, {"lr", 1e30}}}}};
  EXPECT_EQ(failure_of(bench).code(), ExitCode::kPass);
  EXPECT_FALSE(std::filesystem::exists(bench.path("out")));
}

TEST(Runner, InterruptKeepsTheStepsBeforeIt) {
  Workbench bench;
  bench.recipe["passes"] = {kPruneHalf, {{"pass", "finetune"}, {"epochs", 50}}};
  RunRequest request;
  request.recipe = bench.write_recipe();
  bool is_pruned = false;
  const auto interrupt_training = [&](const ProgressEvent& event) {
    // The first pass over the samples that is not a measurement belongs to the second step.
    is_pruned = is_pruned || event.stage.find("finetune") != std::string::npos;
    if (is_pruned) request_interrupt();
  };
  try {
    run(request, interrupt_training);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInterrupted) << error.what();
  }
  EXPECT_THAT(states(bench.read_json("out/report.json")),
              ::testing::ElementsAre("kept", "interrupted"));
}

/// Two classes instead of the network's four.
Workbench& with_two_classes(Workbench& bench) {
  for (const char* set : {"train", "test"}) bench.recipe["data"][set]["map_labels"] = {0, 0, 1, 1};
  return bench;
}

TEST(Runner, NewOutputsAreScoredByTheLabelsAndTheOriginalsAreNot) {
  Workbench bench;
  with_two_classes(bench).recipe["passes"] = {
      {{"pass", "finetune"}, {"head", {{"classes", 2}}}, {"epochs", 1}},
      {{"pass", "fold_batch_norm"}, {"gate", {{"max_accuracy_drop", 0.5}}}}};
  EXPECT_EQ(run_recipe(bench).code, ExitCode::kDone);
  const json report = bench.read_json("out/report.json");
  EXPECT_TRUE(report.at("baseline").at("validation").is_null());
  EXPECT_TRUE(report.at("baseline").at("test").is_null());
  for (const json& step : report.at("steps")) {
    EXPECT_EQ(step.at("state"), "kept");
    EXPECT_EQ(step.at("evaluation").at("test").at("samples"), 64);
    EXPECT_TRUE(step.at("evaluation").at("fidelity").is_null());
    EXPECT_GT(step.at("evaluation").at("speedup"), 0);
  }
  EXPECT_THAT(report.at("notes").dump(), HasSubstr("new outputs"));
  EXPECT_THAT(bench.read_text("out/report.md"), HasSubstr("| top1 (validation / test) |"));
}

TEST(Runner, WithoutItsNewOutputsANetworkIsNotTrainedOnTheirLabels) {
  Workbench bench;
  with_two_classes(bench).recipe["passes"] = {{{"pass", "finetune"},
                                               {"head", {{"classes", 2}}},
                                               {"epochs", 1},
                                               {"gate", {{"max_size_ratio", 0.01}}}},
                                              {{"pass", "finetune"}, {"epochs", 1}}};
  const Error error = failure_of(bench);
  EXPECT_EQ(error.code(), ExitCode::kPass);
  EXPECT_THAT(error.what(), HasSubstr("step 2 finetune: the labels are not of this network's"));
}

TEST(Runner, DryRunWritesNothing) {
  Workbench bench;
  bench.recipe["passes"] = {kPruneHalf};
  RunRequest request;
  request.recipe = bench.write_recipe();
  request.dry_run = true;
  const Outcome outcome = run(request);
  EXPECT_THAT(outcome.text, HasSubstr("prune_weights"));
  EXPECT_THAT(outcome.text, HasSubstr("train 72, "));
  EXPECT_THAT(outcome.text, Not(HasSubstr("allocation=")));  // a default is not worth a word
  EXPECT_FALSE(std::filesystem::exists(bench.path("out")));
}

TEST(Runner, LogIsWrittenBesideTheReport) {
  Workbench bench;
  bench.recipe["passes"] = {kPruneHalf};
  run_recipe(bench);
  EXPECT_THAT(bench.read_text("out/run.log"), HasSubstr("step 1 prune_weights"));
}

}  // namespace
}  // namespace edgecompress
