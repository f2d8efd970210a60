#include "recipe/recipe.h"

#include <fmt/format.h>

#include "edgecompress/error.h"
#include "recipe/checks.h"
#include "recipe/sections.h"
#include "util/hash.h"

namespace edgecompress {

namespace {

std::map<std::string, DatasetSpec> sets_by_name(DataSection section) {
  std::map<std::string, DatasetSpec> sets;
  const auto add = [&](const char* name, std::optional<DatasetSpec>& set) {
    if (set) sets.emplace(name, std::move(*set));
  };
  add("train", section.train);
  add("calibration", section.calibration);
  add("validation", section.validation);
  add("test", section.test);
  return sets;
}

/// One step, with its options resolved by the table of its pass. `resolved` becomes the whole entry
/// as it would be written out in full.
StepSpec parse_step(const Json& given, const std::string& pointer, const PassCatalogue& catalogue,
                    Json& resolved) {
  const std::string name_pointer = child_pointer(pointer, "pass");
  const auto name = given.find("pass");
  if (name == given.end()) {
    throw Error(ExitCode::kRecipe, name_pointer + ": missing, expected the name of a pass");
  }
  if (!name->is_string()) {
    throw Error(ExitCode::kRecipe, fmt::format("{}: found {}, expected the name of a pass",
                                               name_pointer, describe(*name)));
  }
  StepSpec step;
  step.pass = name->get<std::string>();
  const PassDescription& pass = catalogue.at(step.pass, name_pointer);
  step.options = pass.options.resolve(given, pointer, {"pass", "gate"});
  step.options.erase("pass");
  step.options.erase("gate");

  const Json gate = step_gate_options().table().resolve(given.value("gate", Json::object()),
                                                        child_pointer(pointer, "gate"));
  step.gate = step_gate_options().bind(gate);
  resolved = step.options;
  resolved["pass"] = step.pass;
  resolved["gate"] = gate;
  return step;
}

}  // namespace

std::filesystem::path Recipe::locate(const std::string& path) const {
  // An absolute path takes the place of the base.
  return (base / path).lexically_normal();
}

std::string Recipe::resolved_text() const {
  return resolved.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Recipe parse_recipe(const Json& json, const std::filesystem::path& base,
                    const PassCatalogue& catalogue) {
  Recipe recipe;
  recipe.base = base;
  recipe.resolved = recipe_sections().table().resolve(json, "");
  RecipeSections sections = recipe_sections().bind(recipe.resolved);
  // It names a file beside the recipe as it was written, not beside the resolved one.
  recipe.resolved.erase("$schema");

  recipe.name = std::move(sections.name);
  recipe.seed = sections.seed;
  recipe.threads = sections.threads;
  recipe.deterministic = sections.deterministic;
  recipe.model = std::move(sections.model);
  recipe.data = sets_by_name(std::move(sections.data));
  recipe.evaluation = std::move(sections.evaluation);
  recipe.gates = std::move(sections.gates);
  recipe.output = std::move(sections.output);
  for (std::size_t i = 0; i < sections.passes.size(); ++i) {
    recipe.passes.push_back(parse_step(sections.passes[i], child_pointer("/passes", i), catalogue,
                                       recipe.resolved["passes"][i]));
  }
  check_model(recipe.model);
  check_data(recipe.data);
  check_passes(recipe, catalogue);
  Json asked = recipe.resolved;
  asked.erase("output");
  asked.erase("threads");
  recipe.sha256 = sha256(asked.dump(-1, ' ', false, Json::error_handler_t::replace));
  return recipe;
}

DatasetSpec parse_dataset(const Json& json, const std::string& pointer) {
  DatasetSpec set = dataset_options().parse(json, pointer);
  check_dataset(set, pointer);
  if (!set.from.empty()) {
    throw Error(ExitCode::kRecipe,
                child_pointer(pointer, "from") + ": a set on its own can't be taken from another",
                "give its source and path");
  }
  return set;
}

}  // namespace edgecompress
