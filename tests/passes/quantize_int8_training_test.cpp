// quantize_int8 with training, and its portable form, as the pass gives them.
#include <gtest/gtest.h>
#include <torch/csrc/jit/testing/file_check.h>

#include "model/runtime.h"
#include "passes/training_bench.h"
#include "support/expect_error.h"

namespace edgecompress {
namespace {

using testing::TrainingBench;
using torch::jit::testing::FileCheck;

struct Int8Bench : TrainingBench {
  explicit Int8Bench(const std::string& network = "cnn") : TrainingBench(network) {
    initialise_runtime();
    data.calibration = data.train;
    data.calibration_batch = 32;
  }
};

PassNeeds needs_of(const Json& options) {
  const PassDescription& description = find_pass("quantize_int8").description;
  return description.needs_with(description.options.resolve(options, ""));
}

TEST(QuantizeInt8Training, GivesInt8AndTellsOfTheTraining) {
  Int8Bench bench;
  bench.score_on_validation();
  const PassResult result = bench.run(
      "quantize_int8", {{"training", {{"epochs", 2}, {"teacher", "original"}, {"alpha", 0.5}}}});
  EXPECT_EQ(result.details.at("training").at("losses").size(), 2U);
  EXPECT_EQ(result.details.at("training").at("scores").size(), 2U);
  EXPECT_EQ(result.counts.at("epochs"), 2);
  FileCheck()
      .check("quantized::conv2d")
      ->check_not("fake_quantize")
      ->check("aten::dequantize")
      ->run(bench.model.graph());
}

TEST(QuantizeInt8Training, AsksForTrainingDataWhereItTrains) {
  EXPECT_FALSE(needs_of(Json::object()).training);
  const PassNeeds labelled = needs_of({{"training", Json::object()}});
  EXPECT_TRUE(labelled.training && labelled.labels && labelled.calibration);
  const PassNeeds taught = needs_of({{"training", {{"teacher", "original"}, {"alpha", 1}}}});
  EXPECT_TRUE(taught.training && taught.calibration);
  EXPECT_FALSE(taught.labels);
}

TEST(QuantizeInt8Training, RefusesTrainingThatChangesNothing) {
  Int8Bench bench;
  testing::expect_error(
      ExitCode::kRecipe, "training: does nothing here, found mode = the string \"dynamic\"", [&] {
        bench.run("quantize_int8", {{"mode", "dynamic"}, {"training", Json::object()}});
      });
  testing::expect_error(ExitCode::kRecipe, "there is no teacher", [&] {
    bench.run("quantize_int8", {{"training", {{"alpha", 1}}}});
  });
}

TEST(QuantizeInt8Portable, LeavesNoOpThatNeedsAnEngine) {
  for (const char* network : {"residual_cnn", "lstm", "gru", "transformer"}) {
    for (const char* mode : {"static", "dynamic"}) {
      Int8Bench bench(network);
      const PassResult result = bench.run("quantize_int8", {{"portable", true}, {"mode", mode}});
      const std::string graph = bench.model.graph().toString();
      EXPECT_EQ(graph.find("quantized"), std::string::npos) << network << ", " << mode;
      EXPECT_EQ(graph.find("quantize_per_tensor("), std::string::npos) << network << ", " << mode;
      const bool is_changed = result.counts.at("layers_int8") > 0;
      EXPECT_EQ(graph.find("_values") != std::string::npos, is_changed) << network << ", " << mode;
    }
  }
}

}  // namespace
}  // namespace edgecompress
