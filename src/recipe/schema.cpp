#include "recipe/sections.h"

namespace edgecompress {

namespace {

/// One step: the options beside "pass" are those of the pass it names. Conditions, unlike `oneOf`,
/// let an editor say what is wrong with the step instead of that it fits no pass.
Json step_schema(const PassCatalogue& catalogue) {
  Json names = Json::array();
  Json conditions = Json::array();
  for (const PassDescription& pass : catalogue.passes()) {
    names.push_back(pass.name);
    Json options = pass.options.schema();
    options["properties"]["pass"] = true;
    options["properties"]["gate"] = step_gate_options().table().schema();
    options["description"] = pass.summary;
    conditions.push_back({{"if",
                           {{"properties", {{"pass", {{"const", pass.name}}}}},
                            {"required", Json::array({"pass"})}}},
                          {"then", std::move(options)}});
  }
  Json schema = {{"type", "object"},
                 {"properties", {{"pass", {{"description", "name of the pass"}, {"enum", names}}}}},
                 {"required", Json::array({"pass"})}};
  if (!conditions.empty()) schema["allOf"] = std::move(conditions);
  return schema;
}

/// A set has exactly one of `source` and `from`. An empty text counts as not given.
void add_source_rule(Json& set_schema) {
  const auto given = [](const char* key) {
    return Json{{"properties", {{key, {{"minLength", 1}}}}}, {"required", Json::array({key})}};
  };
  // A set may also be null: not given.
  set_schema["if"] = {{"type", "object"}};
  set_schema["then"] = {{"oneOf", Json::array({given("source"), given("from")})}};
}

}  // namespace

Json recipe_schema(const PassCatalogue& catalogue) {
  Json schema = recipe_sections().table().schema();
  schema["$schema"] = "http://json-schema.org/draft-07/schema#";
  schema["title"] = "edgecompress recipe";
  schema["properties"]["passes"]["items"] = step_schema(catalogue);
  for (Json& set : schema["properties"]["data"]["properties"]) add_source_rule(set);
  return schema;
}

}  // namespace edgecompress
