// Where a run's trainings keep their state, so that one that was cut short can go on within a
// step: one file a step. Finished steps are in the cache, see step_cache.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "recipe/options.h"
#include "train/training_context.h"

namespace edgecompress {

class Journal {
 public:
  /// Of the run that writes into `output`; its files are in OUTPUT/.journal. `resume`: what an
  /// earlier run left there is taken up where it fits.
  Journal(std::filesystem::path output, bool resume);
  /// A run that fails leaves its trainings' states, if any; one that is interrupted or killed can
  /// always go on.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// The run begins: from now on, whatever ends it, is_in() tells. Throws Error(kOutput).
  void begin() const;

  /// Whether a run into `output` was cut short and left its state.
  static bool is_in(const std::filesystem::path& output);

  /// Where the training of the step called `step` ("2_finetune") keeps its state. A state is taken
  /// up only where the step's result hangs on the same `fingerprint`; else the log says what
  /// differs. Of states that follow each other within two seconds only the first is written, but
  /// always that of an interrupt. load() throws Error(kOutput) for a file that can't be read.
  Checkpoint checkpoint(const std::string& step, const Json& fingerprint) const;
  /// Before `folder` becomes the output folder in one move: the journal goes along.
  void move_into(const std::filesystem::path& folder) const;
  /// The run is over: what it wrote down is of no more use.
  void clear() const;

 private:
  std::filesystem::path file_of(const std::string& step) const;
  void save(const std::string& step, const Json& fingerprint, const std::string& bytes) const;
  std::optional<std::string> load(const std::string& step, const Json& fingerprint) const;

  std::filesystem::path folder_;
  bool resume_;
};

}  // namespace edgecompress
