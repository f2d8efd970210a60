// The commands that load LibTorch, on tiny networks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/binary.h"
#include "support/workbench.h"

namespace edgecompress::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(RunCommand, PrintsTheTableAndWritesTheOutputs) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}}};
  const BinaryResult result = run_binary({"run", bench.write_recipe()});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("prune_weights"));
  EXPECT_THAT(result.out, HasSubstr(bench.path("out").string()));
  EXPECT_THAT(bench.read_text("out/report.md"), HasSubstr("prune_weights"));
}

TEST(RunCommand, ResultsGoToStdoutAndTheLogToStderr) {
  Workbench bench;
  const BinaryResult result = run_binary({"run", bench.write_recipe(), "--log-format", "json"});
  EXPECT_EQ(result.code, 0) << result.err;
  std::istringstream lines(result.err);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_TRUE(json::parse(line).contains("message")) << line;
  }
  EXPECT_GT(count, 0);
}

TEST(RunCommand, QuietSaysNothingOnStderr) {
  Workbench bench;
  EXPECT_EQ(run_binary({"run", bench.write_recipe(), "--quiet"}).err, "");
}

TEST(RunCommand, ReadsTheRecipeFromStandardInput) {
  Workbench bench;
  const BinaryResult result =
      run_shell("cd '" + bench.path("").string() + "' && \"$EDGECOMPRESS\" run - < '" +
                bench.write_recipe() + "'");
  EXPECT_EQ(result.code, 0) << result.err;
}

TEST(RunCommand, OverridesAreTaken) {
  Workbench bench;
  bench.recipe["passes"] = {{{"pass", "prune_weights"}, {"ratio", 0.5}}};
  const BinaryResult result =
      run_binary({"run", bench.write_recipe(), "--set", "passes/0/ratio=0.25", "--seed", "11",
                  "--output", bench.path("elsewhere").string()});
  EXPECT_EQ(result.code, 0) << result.err;
  const json report = bench.read_json("elsewhere/report.json");
  EXPECT_EQ(report.at("seed"), 11);
  EXPECT_EQ(report.at("steps").at(0).at("options").at("ratio"), 0.25);
}

TEST(InspectCommand, ListsLayersWithShapesAndCosts) {
  const Workbench bench;
  const BinaryResult result =
      run_binary({"inspect", bench.path("net.pt").string(), "--input", "2x3x12x12", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const json layers = json::parse(result.out).at("layers");
  const json& conv = layers.at(0);  // 3 -> 8 channels, 3x3, padded, on 12x12, two samples
  EXPECT_EQ(conv.at("name"), "conv1");
  EXPECT_EQ(conv.at("output"), json({2, 8, 12, 12}));
  EXPECT_EQ(conv.at("parameters"), 8 * 3 * 9 + 8);
  EXPECT_EQ(conv.at("macs"), 2 * 8 * 144 * 27);
}

TEST(InspectCommand, WorksWithoutInputs) {
  const Workbench bench;
  const BinaryResult result = run_binary({"inspect", bench.path("net.pt").string()});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("conv1"));
  EXPECT_THAT(result.out, HasSubstr("--input"));
}

TEST(InspectCommand, TellsWhatInt8LayersComputeWithAndCost) {
  Workbench bench;
  bench.recipe["passes"] = {
      {{"pass", "quantize_int8"}, {"exclude", {"^fc"}}, {"reduce_range", true}}};
  ASSERT_EQ(run_binary({"run", bench.write_recipe()}).code, 0);
  const json report = bench.read_json("out/report.json").at("steps").at(0).at("details");
  const std::string model = bench.path("out/model.pt").string();
  const BinaryResult result = run_binary({"inspect", model, "--int8", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const json found = json::parse(result.out);
  EXPECT_EQ(found.at("layers").at(0).at("parameters"), 8 * 3 * 9);
  EXPECT_EQ(found.at("layers").at(0).at("int8"), "is INT8");
  EXPECT_TRUE(found.at("int8").at("engine").is_string());
  const json &layers = found.at("int8").at("layers"), &expected = report.at("layers");
  ASSERT_EQ(layers.size(), expected.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(layers[i].at("layer"), expected[i].at("layer"));
    EXPECT_EQ(layers[i].at("state"), expected[i].at("state"));
    EXPECT_EQ(layers[i].at("reason"), expected[i].at("reason"));
  }
  const json& conv = layers.at(0);
  EXPECT_EQ(conv.at("scale"), expected.at(0).at("scale"));
  EXPECT_EQ(conv.at("zero_point"), expected.at(0).at("zero_point"));
  EXPECT_EQ(conv.at("weight_largest"), 64);
  EXPECT_NEAR(conv.at("output_sqnr_db").get<double>(),
              expected.at(0).at("output_sqnr_db").get<double>(), 0.01);
  const BinaryResult text = run_binary({"inspect", model, "--int8"});
  EXPECT_THAT(text.out, HasSubstr("the recipe excludes it"));
  EXPECT_THAT(text.out, HasSubstr("2 of 3 layers in INT8, made for the engine"));
}

TEST(InspectCommand, SaysWhereNoLayerIsInt8) {
  const Workbench bench;
  const BinaryResult result = run_binary({"inspect", bench.path("net.pt").string(), "--int8"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("0 of "));
}

TEST(InspectCommand, ListsChannelGroupsOnRequest) {
  const Workbench bench;
  const std::string net = bench.path("net.pt").string();
  const BinaryResult text = run_binary({"inspect", net, "--input", "1x3x12x12", "--groups"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("conv1: 8 units of 1"));
  EXPECT_THAT(text.out, HasSubstr("consumes  conv2.weight:1"));
  EXPECT_THAT(text.out, HasSubstr("left alone: fc: "));

  const BinaryResult result =
      run_binary({"inspect", net, "--input", "1x3x12x12", "--groups", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const json found = json::parse(result.out).at("channel_groups");
  ASSERT_EQ(found.at("groups").size(), 2);
  EXPECT_EQ(found.at("groups").at(1).at("name"), "conv2");
  EXPECT_EQ(found.at("groups").at(1).at("units"), 16);
  EXPECT_EQ(
      found.at("groups").at(1).at("members").at(0),
      json({{"tensor", "conv2.weight"}, {"dim", 0}, {"role", "produces"}, {"layer", "conv2"}}));
  EXPECT_EQ(found.at("left_alone").at(0).at("layer"), "fc");
}

TEST(InspectCommand, ListsWhatAttentionCanLoseInWidth) {
  const Workbench bench("transformer");
  const std::string net = bench.path("net.pt").string();
  const BinaryResult text = run_binary({"inspect", net, "--input", "1x7x6", "--groups"});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("\ngroup qkv: 2 units of 8\n"));
  // One reshape makes queries, keys and values of the same width.
  EXPECT_THAT(text.out, HasSubstr("\nwith attention \"width\": group qkv: 8 units of 2\n"));

  const BinaryResult result =
      run_binary({"inspect", net, "--input", "1x7x6", "--groups", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const json found = json::parse(result.out).at("channel_groups");
  ASSERT_EQ(found.at("attention_width").size(), 1);
  EXPECT_EQ(found.at("attention_width").at(0).at("units"), 8);
}

TEST(InspectCommand, NeedsInputsForChannelGroups) {
  const Workbench bench;
  const BinaryResult result = run_binary({"inspect", bench.path("net.pt").string(), "--groups"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("--input"));
}

TEST(InspectCommand, WrongInputShapeIsAModelError) {
  const Workbench bench;
  const BinaryResult result =
      run_binary({"inspect", bench.path("net.pt").string(), "--input", "1x5x12x12"});
  EXPECT_EQ(result.code, 4);
  EXPECT_THAT(result.err, HasSubstr("error: "));
}

TEST(EvaluateCommand, ScoresOneSetOfARecipe) {
  const Workbench bench;
  const BinaryResult result = run_binary({"evaluate", bench.path("net.pt").string(), "--data",
                                          bench.write_recipe() + "#test", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(json::parse(result.out).at("test").at("samples"), 64);
}

TEST(EvaluateCommand, ComparesWithAReferenceWithoutLabels) {
  const Workbench bench;
  const json set = {
      {"source", "torch"}, {"path", bench.path("test.pt").string()}, {"inputs", {"images"}}};
  const std::string net = bench.path("net.pt").string();
  const BinaryResult result =
      run_binary({"evaluate", net, "--data", set.dump(), "--reference", net, "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NEAR(json::parse(result.out).at("fidelity").at("cosine").get<double>(), 1, 1e-6);
}

TEST(EvaluateCommand, WithoutLabelsAndReferenceItSaysWhatIsMissing) {
  const Workbench bench;
  const json set = {
      {"source", "torch"}, {"path", bench.path("test.pt").string()}, {"inputs", {"images"}}};
  const BinaryResult result =
      run_binary({"evaluate", bench.path("net.pt").string(), "--data", set.dump()});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("--reference"));
}

TEST(BenchmarkCommand, PutsModelsSideBySide) {
  const Workbench bench;
  const std::string net = bench.path("net.pt").string();
  const BinaryResult result = run_binary({"benchmark", net, net, "--input", "1x3x12x12",
                                          "--repeats", "5", "--warm-up", "1", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const json models = json::parse(result.out).at("models");
  ASSERT_EQ(models.size(), 2U);
  EXPECT_EQ(models.at(0).at("evaluation").at("speedup"), 1.0);
  EXPECT_GE(models.at(1).at("evaluation").at("latency").at("repeats"), 5);
}

}  // namespace
}  // namespace edgecompress::testing
