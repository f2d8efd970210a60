#include "recipe/recipe.h"

#include <gmock/gmock.h>

#include <fstream>

#include "recipe/example_catalogue.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "util/hash.h"

namespace edgecompress {
namespace {

using testing::error_of;
using testing::example_catalogue;
using testing::expect_error;
using testing::TemporaryFolder;

/// A recipe that is right, for tests to spoil.
Json good() {
  return Json::parse(R"({
    "model": {"path": "net.pt", "inputs": [{"shape": [1, 3, 8, 8]}]},
    "data": {"train": {"source": "npz", "path": "a.npz", "inputs": ["x"], "target": "y"},
             "validation": {"from": "train", "split": 0.1}},
    "passes": [{"pass": "sharpen", "ratio": 0.3, "gate": {"max_accuracy_drop": 0.02}},
               {"pass": "teach", "teacher": "original"},
               {"pass": "shrink"}]})");
}

Recipe parse(const Json& json) { return parse_recipe(json, "/base", example_catalogue()); }

Json with(const char* patch) {
  Json json = good();
  json.merge_patch(Json::parse(patch));
  return json;
}

void expect_bad(const Json& json, const std::string& message, const std::string& hint = {}) {
  expect_error(
      ExitCode::kRecipe, message, [&] { parse(json); }, hint);
}

TEST(ParseRecipe, FillsTheStructs) {
  const Recipe recipe = parse(good());
  EXPECT_EQ(recipe.model.inputs.at(0).dtype, "float32");
  EXPECT_EQ(recipe.data.size(), 2u);
  EXPECT_EQ(recipe.data.at("validation").split, 0.1);
  ASSERT_EQ(recipe.passes.size(), 3u);
  EXPECT_EQ(recipe.passes[0].options,
            Json::parse(R"({"ratio": 0.3, "scope": "layer", "threshold": null, "include": []})"));
  EXPECT_EQ(recipe.passes[0].gate.max_accuracy_drop, 0.02);
  EXPECT_EQ(recipe.passes[0].gate.on_fail, "rollback");
  EXPECT_FALSE(recipe.gates.min_speedup);
  EXPECT_EQ(recipe.evaluation.latency.repeats, LatencySpec{}.repeats);
  EXPECT_EQ(recipe.locate("net.pt"), "/base/net.pt");
  EXPECT_EQ(recipe.locate("../net.pt"), "/net.pt");
  EXPECT_EQ(recipe.locate("/abs/net.pt"), "/abs/net.pt");
}

TEST(ParseRecipe, ResolvesToARecipeOfTheSameMeaning) {
  const Recipe first = parse(good());
  const Recipe again = parse(first.resolved);
  EXPECT_EQ(again.resolved, first.resolved);
  EXPECT_EQ(again.sha256, first.sha256);
  EXPECT_EQ(Json::parse(first.resolved_text()), first.resolved);
  EXPECT_NE(parse(with(R"({"seed": 1})")).sha256, first.sha256);
}

TEST(ParseRecipe, FingerprintIsOfWhatIsAskedForAndNotOfWhereOrByHowManyThreads) {
  const std::string sha256 = parse(good()).sha256;
  EXPECT_EQ(parse(with(R"({"threads": 3})")).sha256, sha256);
  EXPECT_EQ(parse(with(R"({"output": {"directory": "elsewhere"}})")).sha256, sha256);
  EXPECT_NE(parse(with(R"({"name": "other"})")).sha256, sha256);
}

TEST(ParseRecipe, IgnoresTheEditorsSchemaKey) {
  EXPECT_EQ(parse(with(R"({"$schema": "edgecompress.schema.json"})")).sha256, parse(good()).sha256);
}

TEST(ParseRecipe, PointsAtUnknownKeysAndWrongTypes) {
  expect_bad(with(R"({"pases": []})"), "/pases: unknown key", "did you mean \"passes\"?");
  expect_bad(with(R"({"model": {"pth": "x"}})"), "/model/pth: unknown key", "\"path\"");
  expect_bad(with(R"({"data": {"training": {}}})"), "/data/training: unknown key");
  expect_bad(with(R"({"seed": "7"})"), "/seed: found the string \"7\", expected an integer");
  expect_bad(with(R"({"seed": -1})"), "/seed: found -1, expected an integer of at least 0");
  expect_bad(with(R"({"model": "net.pt"})"), "/model: found the string \"net.pt\"");
  expect_bad(with(R"({"evaluation": {"metric": "top2"}})"), "/evaluation/metric", "\"top1\"");
  expect_bad(with(R"({"output": {"report": ["json", "html"]}})"), "/output/report/1: found");
  expect_bad(with(R"({"gates": {"on_fail": "stop"}})"), "/gates/on_fail: unknown key");
  expect_bad(with(R"({"passes": null})"), "/passes: missing");
  expect_bad(Json::array(), "top level: found a list of 0, expected an object");
}

TEST(ParseRecipe, PointsAtWrongSteps) {
  expect_bad(with(R"({"passes": [{"pass": "sharpn"}]})"), "/passes/0/pass: found the string",
             "did you mean \"sharpen\"?");
  expect_bad(with(R"({"passes": [{}]})"), "/passes/0/pass: missing");
  expect_bad(with(R"({"passes": [{"pass": 3}]})"), "/passes/0/pass: found 3");
  expect_bad(with(R"({"passes": ["sharpen"]})"), "/passes/0: found the string");
  expect_bad(with(R"({"passes": [{"pass": "sharpen", "gate": {"max_drop": 1}}]})"),
             "/passes/0/gate/max_drop: unknown key");
  expect_bad(with(R"({"passes": [{"pass": "sharpen", "gate": {"on_fail": "retry"}}]})"),
             "/passes/0/gate/on_fail");
  expect_bad(with(R"({"passes": [{"pass": "sharpen", "gate": 3}]})"), "/passes/0/gate: found 3");
}

TEST(ParseRecipe, RefusesTrainingAfterQuantizing) {
  expect_bad(with(R"({"passes": [{"pass": "shrink"}, {"pass": "sharpen"},
                                 {"pass": "teach", "teacher": "t"}]})"),
             "/passes/2: teach needs a float model, but shrink at /passes/0 leaves an INT8 one",
             "move shrink to the end");
  expect_bad(with(R"({"passes": [{"pass": "shrink"}, {"pass": "shrink", "mode": "dynamic"}]})"),
             "/passes/1: shrink needs a float model", "keep one shrink only");
}

TEST(ParseRecipe, RefusesWhatNeedsTheOriginalsOutputsBeforeNewOnes) {
  Json json = good();
  json["passes"] = {{{"pass", "teach"}, {"teacher", "original"}},
                    {{"pass", "teach"}, {"teacher", "original"}, {"classes", 2}}};
  expect_bad(json, "/passes/0: teach needs labels that fit the network's outputs", "behind");
  std::swap(json["passes"][0], json["passes"][1]);
  EXPECT_NO_THROW(parse(json));
  json["passes"][1]["gate"] = {{"max_accuracy_drop", 0.1}};
  EXPECT_NO_THROW(parse(json));
  json["passes"][0]["gate"] = {{"max_accuracy_drop", 0.1}};
  expect_bad(json, "/passes/0/gate/max_accuracy_drop: there is no accuracy before");
  json["passes"][0].erase("gate");
  json["gates"] = {{"max_accuracy_drop", 0.1}};
  expect_bad(json, "/gates/max_accuracy_drop: there is no accuracy before");
}

TEST(ParseRecipe, RefusesPassesWithoutTheirData) {
  expect_bad(with(R"({"data": null, "passes": [{"pass": "teach", "teacher": "t"}]})"),
             "/passes/0: teach needs training data, but there is no /data/train");
  expect_bad(with(R"({"data": {"train": {"target": ""}}})"), "/passes/1: teach needs labels");
  expect_bad(
      with(R"({"data": {"train": null, "validation": null}, "passes": [{"pass": "shrink"}]})"),
      "/passes/0: shrink needs calibration data");
}

TEST(ParseRecipe, TakesCalibrationFromWhateverThereIs) {
  const char* set = R"({"source": "npz", "path": "a.npz", "inputs": ["x"]})";
  for (const char* name : {"train", "calibration", "validation"}) {
    Json json = with(R"({"data": null, "passes": [{"pass": "shrink"}]})");
    json["data"][name] = Json::parse(set);
    EXPECT_NO_THROW(parse(json)) << name;
  }
  EXPECT_NO_THROW(
      parse(with(R"({"data": null, "passes": [{"pass": "shrink", "mode": "dynamic"}]})")));
}

TEST(ParseRecipe, FollowsSetsToTheirLabels) {
  Json json = with(R"({"data": {"train": null, "validation": null}})");
  json["data"]["test"] = good()["data"]["train"];
  json["data"]["train"] = {{"from", "test"}};
  EXPECT_NO_THROW(parse(json));
  json["data"]["test"].erase("target");
  expect_bad(json, "/passes/1: teach needs labels");
}

TEST(ParseRecipe, RefusesSetsThatDoNotFitTogether) {
  expect_bad(with(R"({"data": {"test": {}}})"), "/data/test: found neither");
  expect_bad(with(R"({"data": {"test": {"source": "npz", "path": "b", "from": "train"}}})"),
             "/data/test: found both");
  expect_bad(with(R"({"data": {"validation": {"from": "test"}}})"),
             "/data/validation/from: there is no set \"test\"");
  expect_bad(
      with(R"({"data": {"calibration": {"from": "test"}, "test": {"from": "calibration"}}})"),
      "in a circle: calibration <- test <- calibration");
  expect_bad(with(R"({"data": {"test": {"from": "test"}}})"), "in a circle: test <- test");
  expect_bad(with(R"({"data": {"validation": {"split": 1}}})"),
             "/data/validation/split: found 1, expected a number in (0, 1)");
  expect_bad(with(R"({"data": {"validation": {"split": 0}}})"), "/data/validation/split: found 0");
  expect_bad(with(R"({"data": {"train": {"split": 0.5}}})"), "/data/train/split: only for");
  expect_bad(with(R"({"data": {"train": {"path": ""}}})"), "/data/train/path: missing");
  expect_bad(with(R"({"data": {"validation": {"target": "y"}}})"), "/data/validation/target: only");
  expect_bad(with(R"({"data": {"validation": {"map_labels": [0, 1]}}})"),
             "/data/validation/map_labels: only");
  expect_bad(with(R"({"data": {"train": {"map_labels": [0, -1]}}})"),
             "/data/train/map_labels/1: found -1");
  expect_bad(with(R"({"data": {"train": {"target": "", "map_labels": [0, 1]}}})"),
             "/data/train/map_labels: found no \"target\"");
  expect_bad(with(R"({"data": {"train": {"transforms": ["scale"]}}})"),
             "/data/train/transforms/0: found the string \"scale\", expected an object");
}

TEST(ParseRecipe, ChecksTheModelSection) {
  expect_bad(with(R"({"model": {"path": null}})"), "/model/path: missing", "--model");
  expect_bad(with(R"({"model": {"inputs": [{"shape": []}]}})"), "/model/inputs/0/shape: found no");
  expect_bad(with(R"({"model": {"inputs": [{"shape": [1, 0]}]}})"),
             "/model/inputs/0/shape/1: found 0");
  expect_bad(with(R"({"model": {"inputs": [{"shape": [1, 100000, 100000]}]}})"),
             "/model/inputs/0/shape: found 1e+10 elements");
  expect_bad(with(R"({"model": {"inputs": [{}]}})"), "/model/inputs/0/shape: missing");
}

TEST(ParseDataset, StandsOnItsOwn) {
  const Json set = good()["data"]["train"];
  EXPECT_EQ(parse_dataset(set, "--data").inputs, std::vector<std::string>{"x"});
  expect_error(ExitCode::kRecipe, "--data/from", [] {
    parse_dataset({{"from", "train"}}, "--data");
  });
}

TEST(ApplyOverride, ReachesEveryLevel) {
  Json json = good();
  apply_override(json, "passes/0/ratio=0.4");
  apply_override(json, "/passes/1/optimizer/lr=1e-3");
  apply_override(json, "evaluation.latency.repeats=5");
  apply_override(json, "name=007");
  apply_override(json, "model.path=a=b.pt");
  apply_override(json, "gates={\"min_speedup\": 2}");
  const Recipe recipe = parse(json);
  EXPECT_EQ(recipe.passes[0].options["ratio"], 0.4);
  EXPECT_EQ(recipe.passes[1].options["optimizer"]["lr"], 1e-3);
  EXPECT_EQ(recipe.evaluation.latency.repeats, 5);
  EXPECT_EQ(recipe.name, "007");
  EXPECT_EQ(recipe.model.path, "a=b.pt");
  EXPECT_EQ(recipe.gates.min_speedup, 2);
}

TEST(ApplyOverride, RefusesPlacesThatARecipeDoesNotHave) {
  const auto expect_usage = [](const char* assignment, const char* message, const char* hint = "") {
    expect_error(
        ExitCode::kUsage, message,
        [&] {
          Json json = good();
          apply_override(json, assignment);
        },
        hint);
  };
  expect_usage("ratio", "expected PATH=VALUE");
  expect_usage("=3", "expected PATH=VALUE");
  expect_usage("sede=3", "a recipe has no \"sede\" here", "did you mean \"seed\"?");
  expect_usage("evaluation/latency/repeat=3", "no \"repeat\" here", "\"repeats\"");
  expect_usage("passes/3/ratio=1", "found \"3\", expected an index below 3");
  expect_usage("passes/first/ratio=1", "found \"first\"");
  expect_usage("passes/0/ratio/x=1", "inside 0.3");
}

class LoadRecipe : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    const auto path = folder_.path() / "recipe.json";
    std::ofstream(path) << text;
    return path;
  }
  void expect_bad(const std::string& text, const std::string& message,
                  const std::string& hint = {}) {
    const auto path = write(text);
    expect_error(
        ExitCode::kRecipe, path.string() + ": " + message,
        [&] { load_recipe(path, example_catalogue()); }, hint);
  }
  TemporaryFolder folder_;
};

TEST_F(LoadRecipe, IsRelativeToItsOwnFolder) {
  const Recipe recipe = load_recipe(write(good().dump()), example_catalogue());
  EXPECT_EQ(recipe.locate("net.pt"), folder_.path() / "net.pt");
}

TEST_F(LoadRecipe, AppliesTheCommandLine) {
  Json json = good();
  json["model"].erase("path");
  json["seed"] = 1;
  RecipeOverrides overrides;
  overrides.model = "other.pt";
  overrides.output = "there";
  overrides.seed = 9;
  overrides.threads = 2;
  overrides.overwrite = true;
  overrides.set = {"passes/0/ratio=0.9", "seed=5"};
  const Recipe recipe = load_recipe(write(json.dump()), example_catalogue(), overrides);
  EXPECT_EQ(recipe.locate(recipe.model.path), std::filesystem::current_path() / "other.pt");
  EXPECT_EQ(recipe.locate(recipe.output.directory), std::filesystem::current_path() / "there");
  EXPECT_EQ(recipe.seed, 9);
  EXPECT_EQ(recipe.threads, 2);
  EXPECT_TRUE(recipe.output.overwrite);
  EXPECT_EQ(recipe.passes[0].options["ratio"], 0.9);
}

TEST_F(LoadRecipe, SaysWhereTheSyntaxIsWrong) {
  expect_bad("{\n  \"seed\": 7,\n  \"é\": }\n", "line 3, column 8: not valid JSON: ");
  expect_bad("{\n  // which\n  \"seed\": 7\n}", "line 2, column 3", "JSON has no comments");
  expect_bad("", "line 1, column 1: not valid JSON");
  expect_bad("{\"seed\": 7", "line 1, column 11");
  expect_bad("{\"seed\": 1e999}", "not valid JSON");
  expect_bad("{\"name\": \"\xff\"}", "line 1, column 11");
}

TEST_F(LoadRecipe, RefusesAKeyGivenTwice) {
  expect_bad(R"({"seed": 1, "seed": 2})", "the key \"seed\" is given twice");
  EXPECT_NO_THROW(load_recipe(write(good().dump()), example_catalogue()))
      << "the same key in two objects is fine";
}

TEST_F(LoadRecipe, BoundsSizeAndDepth) {
  expect_bad(std::string(100000, '['), "nested deeper than");
  write(std::string((16 << 20) + 1, ' '));
  const auto error =
      error_of([&] { load_recipe(folder_.path() / "recipe.json", example_catalogue()); });
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ExitCode::kRecipe);
  EXPECT_NE(std::string(error->what()).find("larger than"), std::string::npos);
}

TEST_F(LoadRecipe, NamesAMissingFile) {
  expect_error(ExitCode::kRecipe, "/no/recipe.json: can't be read: No such file",
               [] { load_recipe("/no/recipe.json", example_catalogue()); });
}

TEST_F(LoadRecipe, PutsTheFileBeforeThePointer) {
  expect_bad(R"({"seed": -1})", "/seed: found -1");
}

}  // namespace
}  // namespace edgecompress
