// Everything a run needs before its first step: opened, checked, and refused early.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "int8/int8_engine.h"
#include "model/model.h"
#include "recipe/recipe.h"

namespace edgecompress {

struct Preparation {
  std::filesystem::path model_path;
  std::int64_t threads = 1;
  std::vector<std::string> op_libraries;  ///< that were loaded
  DataSets data;
  std::vector<InputSpec> inputs;  ///< the recipe's; where it gives none, what the data shows
  Model model;
  std::vector<std::string> notes;           ///< what the report should say of all this
  std::shared_ptr<Int8EngineGuard> engine;  ///< the recipe's, as long as this lives
  /// The labels are of the model's classes: no step gives it new outputs for them.
  bool has_own_labels = true;
};

/// The state of the process: threads, kernels, custom operators. Returns the number of threads.
/// A BLAS library on the wrong kernels is complained of in the log and, if given, in `notes`.
std::int64_t prepare_process(std::int64_t threads, const std::vector<std::string>& op_libraries,
                             std::vector<std::string>* notes = nullptr);

/// Loads the model, opens the data and checks that they fit, that teachers are there.
/// `op_libraries` come on top of the recipe's. Throws Error(kModel), Error(kData).
Preparation prepare(const Recipe& recipe, const std::vector<std::string>& op_libraries);

/// Whether a step leaves a network with other outputs than the original's (see PassNeeds).
bool gives_new_outputs(const StepSpec& step);

/// Shapes and types of one sample's inputs, as a batch of 1.
std::vector<InputSpec> inputs_of(const Dataset& data);

/// SHA-256 of the model, the recipe and the files of each data set ("data/train").
std::map<std::string, std::string> fingerprints(const Recipe& recipe,
                                                const Preparation& preparation);

}  // namespace edgecompress
