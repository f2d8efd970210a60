// What a recipe may hold, declared once: the parser, the defaults and the schema read it from here.
#pragma once

#include <optional>
#include <string>

#include "recipe/options.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// The data sets that a run knows.
struct DataSection {
  std::optional<DatasetSpec> train, calibration, validation, test;
};

/// A recipe as it is written, section by section. `passes` is checked against the catalogue.
struct RecipeSections {
  std::optional<std::string> schema;
  std::string name;
  std::int64_t seed = 0;
  std::int64_t threads = 0;
  bool deterministic = false;
  ModelSpec model;
  DataSection data;
  EvaluationSpec evaluation;
  Json passes = Json::array();
  GateSpec gates;
  OutputSpec output;
};

const Options<RecipeSections>& recipe_sections();
const Options<DatasetSpec>& dataset_options();
/// The gate of one step: the bounds of a run, and what to do where one is not met.
const Options<GateSpec>& step_gate_options();

}  // namespace edgecompress
