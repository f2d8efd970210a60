// A recipe: what to do to which model with which data. Validated whole before any work.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "recipe/options.h"
#include "recipe/pass_catalogue.h"

namespace edgecompress {

/// One input of the model. `shape` includes the batch dimension first; its size is only an example.
struct InputSpec {
  std::vector<std::int64_t> shape;
  std::string dtype = "float32";  ///< float32, int64, ...
  /// Example values of integer inputs are drawn from [0, high).
  std::int64_t high = 2;
};

struct ModelSpec {
  std::string path;
  std::vector<InputSpec> inputs;
  std::vector<std::string> op_libraries;  ///< shared objects that register custom operators
};

/// One data set. Either `source` (read it) or `from` (derive it from another set) is given.
struct DatasetSpec {
  std::string source;  ///< npz, npy, torch, image_folder, csv, synthetic
  std::string path;
  std::vector<std::string> inputs;  ///< keys (npz, npy, torch) or columns (csv) of the inputs
  std::string target;               ///< key or column of the target; empty: no labels
  /// The class that each class id of the source becomes; empty: as they are.
  std::vector<std::int64_t> map_labels;
  std::string from;                   ///< name of the set this one is taken from
  std::optional<double> split;        ///< share of `from` that is moved here (seeded), in (0, 1)
  std::optional<std::int64_t> limit;  ///< at most so many samples (the first of a seeded order)
  std::int64_t batch_size = 64;
  bool augment = true;  ///< apply the training-only transforms (train sets only)
  Json transforms =
      Json::array();              ///< [{"scale": {"divisor": 255}}, ...], parsed by data/transforms
  Json options = Json::object();  ///< of the source: synthetic: {"task": "shapes", "samples": 4000}
};

struct LatencySpec {
  std::int64_t batch_size = 1;
  std::int64_t threads = 1;
  std::int64_t warm_up = 10;
  std::int64_t repeats = 50;
};

struct EvaluationSpec {
  std::string metric = "auto";  ///< auto, top1, top5, f1, mse, mae, fidelity
  LatencySpec latency;
};

/// Bounds on what a step, or the whole run, may cost. Absent: no bound.
struct GateSpec {
  std::optional<double> max_accuracy_drop;  ///< in the metric's own unit, against the model before
  std::optional<double> max_size_ratio;     ///< zipped bytes after / before
  std::optional<double> min_speedup;        ///< latency before / after
  std::string on_fail = "rollback";         ///< rollback, stop, continue
};

struct StepSpec {
  std::string pass;
  Json options;  ///< resolved: every option of the pass, defaults filled in
  GateSpec gate;
};

struct OutputSpec {
  std::string directory = "out";
  std::vector<std::string> report = {"json", "markdown"};
  bool overwrite = false;
};

struct Recipe {
  std::string name;
  std::int64_t seed = 0;
  std::int64_t threads = 0;  ///< of the whole run; 0: all cores this process may use
  /// Every result is computed by one thread, so that it is the same whatever `threads` says.
  bool deterministic = false;
  ModelSpec model;
  std::map<std::string, DatasetSpec> data;  ///< train, calibration, validation, test
  EvaluationSpec evaluation;
  std::vector<StepSpec> passes;
  GateSpec gates;
  OutputSpec output;

  std::filesystem::path base;  ///< relative paths are relative to this folder
  Json resolved;               ///< the whole recipe with every default filled in
  /// Of the resolved recipe, but for where it writes and by how many threads: what it asks for.
  std::string sha256;

  /// The resolved recipe as it is written to recipe.resolved.json.
  std::string resolved_text() const;

  /// `path` as the recipe means it.
  std::filesystem::path locate(const std::string& path) const;
};

/// One `--set PATH=VALUE`: "passes/0/ratio=0.3" or "evaluation.latency.repeats=5"; VALUE is JSON,
/// or a string if it isn't. Throws Error(kUsage) if PATH does not exist in the recipe's shape. The
/// options of a pass and of a data source are checked by parse_recipe.
void apply_override(Json& recipe, const std::string& assignment);

/// Reads and checks everything that can be checked without opening the model or the data: keys,
/// types, ranges, pass names, the order of passes, the sets that they need. Throws Error(kRecipe).
Recipe parse_recipe(const Json& json, const std::filesystem::path& base,
                    const PassCatalogue& catalogue);

struct RecipeOverrides {
  std::optional<std::string> model;   ///< relative to the working directory
  std::optional<std::string> output;  ///< relative to the working directory
  std::optional<std::int64_t> seed;
  std::optional<std::int64_t> threads;
  bool deterministic = false;
  bool overwrite = false;
  std::vector<std::string> set;
};
/// The same from a file of at most 16 MiB; `-` reads stdin. Messages begin with the file's name; a
/// syntax error names line and column. A key given twice is an error.
Recipe load_recipe(const std::filesystem::path& path, const PassCatalogue& catalogue,
                   const RecipeOverrides& overrides = {});

/// The JSON Schema (draft-07) of recipes with these passes.
Json recipe_schema(const PassCatalogue& catalogue);

/// A data-set section on its own (`evaluate --data`): it must have a source. Throws Error(kRecipe).
DatasetSpec parse_dataset(const Json& json, const std::string& pointer);

}  // namespace edgecompress
