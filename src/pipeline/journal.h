// What a run writes down on its way, so that one that was cut short can go on: the state of the
// trainings, one file a step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "recipe/recipe.h"
#include "report/report.h"
#include "train/training_context.h"

namespace edgecompress {

class Journal {
 public:
  /// Of the run that writes into `output`; its files are in OUTPUT/.journal, a folder that is made
  /// for the first of them. `resume`: what an earlier run left there is taken up where it fits.
  Journal(std::filesystem::path output, bool resume);

  /// Whether a run into `output` was cut short and left its state.
  static bool is_in(const std::filesystem::path& output);

  /// Where the training of the step called `step` ("2_finetune") keeps its state. A state is taken
  /// up only where the step's result hangs on the same `fingerprint`; else the log says what
  /// differs. Of states that follow each other within two seconds only the first is written, but
  /// always that of an interrupt. load() throws Error(kOutput) for a file that can't be read.
  Checkpoint checkpoint(const std::string& step, const Json& fingerprint) const;
  /// The run is over: what it wrote down is of no more use.
  void clear() const;

 private:
  std::filesystem::path file_of(const std::string& step) const;
  void save(const std::string& step, const Json& fingerprint, const std::string& bytes) const;
  std::optional<std::string> load(const std::string& step, const Json& fingerprint) const;

  std::filesystem::path folder_;
  bool resume_;
};

/// All that the result of step `index` hangs on: version, model at its start (`model`, a file),
/// options and the files that they name, seed, data, metric. `report` tells what the run has
/// fingerprinted already.
Json step_fingerprint(const Recipe& recipe, const Report& report, std::size_t index,
                      const std::filesystem::path& model);

}  // namespace edgecompress
