// The schema against the parser, with valijson as the judge of the schema.
#include <gtest/gtest.h>

#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "edgecompress/error.h"
#include "recipe/example_catalogue.h"
#include "recipe/recipe.h"

namespace edgecompress {
namespace {

using testing::example_catalogue;

bool schema_accepts(const Json& json) {
  static const Json text = recipe_schema(example_catalogue());
  static const auto schema = [] {
    auto parsed = std::make_unique<valijson::Schema>();
    valijson::SchemaParser().populateSchema(valijson::adapters::NlohmannJsonAdapter(text), *parsed);
    return parsed;
  }();
  valijson::Validator validator;
  return validator.validate(*schema, valijson::adapters::NlohmannJsonAdapter(json), nullptr);
}

bool parser_accepts(const Json& json) {
  try {
    parse_recipe(json, ".", example_catalogue());
    return true;
  } catch (const Error&) {
    return false;
  }
}

Json with(const char* patch) {
  Json json = Json::parse(R"({
    "model": {"path": "net.pt", "inputs": [{"shape": [1, 3]}]},
    "data": {"train": {"source": "npz", "path": "a.npz", "target": "y"}},
    "passes": [{"pass": "sharpen"}]})");
  json.merge_patch(Json::parse(patch));
  return json;
}

TEST(RecipeSchema, AcceptsWhatTheParserAccepts) {
  for (
      const char* patch : {
          R"({})",
          R"({"$schema": "edgecompress.schema.json", "name": "n", "seed": 3, "threads": 2})",
          R"({"data": {"test": null}})",
          R"({"data": {"validation": {"from": "train", "split": 0.25, "augment": false}}})",
          R"({"data": {"train": {"transforms": [{"scale": {"divisor": 255}}], "options": {"a": 1}}}})",
          R"({"passes": []})",
          R"({"passes": [{"pass": "sharpen", "threshold": null, "include": ["a"]}]})",
          R"({"passes": [{"pass": "teach", "teacher": "t", "optimizer": {"name": "adamw"}}]})",
          R"({"passes": [{"pass": "shrink", "gate": {"min_speedup": 2, "on_fail": "stop"}}]})",
          R"({"gates": {"max_accuracy_drop": null, "max_size_ratio": 0.3}})",
          R"({"evaluation": {"metric": "f1", "latency": {"warm_up": 0}}})",
          R"({"output": {"directory": "o", "report": [], "overwrite": true}})",
      }) {
    EXPECT_TRUE(parser_accepts(with(patch))) << patch;
    EXPECT_TRUE(schema_accepts(with(patch))) << patch;
  }
}

TEST(RecipeSchema, AcceptsTheResolvedRecipe) {
  const Json resolved =
      parse_recipe(with(R"({"passes": [{"pass": "sharpen"}, {"pass": "shrink"}]})"), ".",
                   example_catalogue())
          .resolved;
  EXPECT_TRUE(schema_accepts(resolved)) << resolved.dump(2);
}

TEST(RecipeSchema, RefusesWhatTheParserRefuses) {
  for (const char* patch : {
           R"({"pases": []})",
           R"({"passes": null})",
           R"({"seed": -1})",
           R"({"seed": "1"})",
           R"({"threads": 5000})",
           R"({"model": {"pth": "x"}})",
           R"({"model": {"inputs": [{}]}})",
           R"({"model": {"inputs": [{"shape": [0]}]}})",
           R"({"model": {"inputs": [{"shape": [1], "dtype": "float"}]}})",
           R"({"data": {"training": {}}})",
           R"({"data": {"train": {"source": "hdf5"}}})",
           R"({"data": {"train": {"batch_size": 0}}})",
           R"({"data": {"train": {"from": "test"}, "test": {"source": "npz", "path": "b"}}})",
           R"({"data": {"test": {}}})",
           R"({"data": {"test": {"from": "train", "split": 1}}})",
           R"({"data": {"train": {"transforms": ["scale"]}}})",
           R"({"evaluation": {"metric": "top2"}})",
           R"({"evaluation": {"latency": {"repeats": 0}}})",
           R"({"gates": {"on_fail": "stop"}})",
           R"({"gates": {"max_size_ratio": 0}})",
           R"({"output": {"report": ["html"]}})",
           R"({"passes": [{}]})",
           R"({"passes": ["sharpen"]})",
           R"({"passes": [{"pass": "sharpn"}]})",
           R"({"passes": [{"pass": "sharpen", "ratio": 1}]})",
           R"({"passes": [{"pass": "sharpen", "epochs": 1}]})",
           R"({"passes": [{"pass": "sharpen", "scope": "both"}]})",
           R"({"passes": [{"pass": "sharpen", "threshold": 0}]})",
           R"({"passes": [{"pass": "teach"}]})",
           R"({"passes": [{"pass": "teach", "teacher": "t", "optimizer": {"momentum": 1}}]})",
           R"({"passes": [{"pass": "shrink", "gate": {"max_drop": 1}}]})",
           R"({"passes": [{"pass": "shrink", "gate": {"on_fail": "retry"}}]})",
       }) {
    EXPECT_FALSE(parser_accepts(with(patch))) << patch;
    EXPECT_FALSE(schema_accepts(with(patch))) << patch;
  }
}

}  // namespace
}  // namespace edgecompress
