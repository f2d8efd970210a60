// What became of the models of a batch, as plain data: a row a model. Writers only format it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "edgecompress/error.h"
#include "recipe/options.h"

namespace edgecompress {

enum class ModelState {
  kPending,      ///< not started yet, or not here: another shard has it
  kDone,         ///< its process ended with exit code 0
  kGateMissed,   ///< finished and written, but a gate was not met (exit code 7)
  kBadModel,     ///< the file can't be used (exit code 4)
  kFailed,       ///< any other exit code
  kCrashed,      ///< ended by a signal that nobody here sent
  kTimedOut,     ///< ended for its time, on the clock or of CPU
  kOutOfMemory,  ///< ended for its memory
  kInterrupted,  ///< told to stop with the whole batch
};
std::string to_string(ModelState state);

/// What a model's own report says of it: before and after. Absent: it was not measured.
struct ModelFigures {
  std::string metric;  ///< of the accuracies: top1, ..., or fidelity_top1, fidelity_sqnr_db
  std::optional<double> accuracy_before, accuracy_after;
  std::optional<std::int64_t> bytes_before, bytes_after;  ///< of the stored file
  std::optional<double> latency_before_ms, latency_after_ms;
  std::optional<double> speedup;  ///< against the original's fastest float form, as in the report
};

struct ZooRow {
  std::string name;   ///< of the model's folder in the output folder
  std::string model;  ///< path of the file
  ModelState state = ModelState::kPending;
  std::string reason;  ///< of every state but "done"
  std::optional<int> exit_code, signal;
  ModelFigures figures;
  double seconds = 0, cpu_seconds = 0;
  std::int64_t peak_memory_bytes = 0;  ///< largest resident set; 0: never ran
  std::string model_sha256;
  /// Of all else that the result hangs on: resolved recipe, data, version.
  std::string settings_sha256;
};

struct Zoo {
  static constexpr int kSchemaVersion = 1;
  std::string recipe;   ///< its name
  std::string started;  ///< ISO 8601, UTC
  double seconds = 0;
  std::int64_t jobs = 1, threads = 1;  ///< processes at once; threads of each
  std::vector<ZooRow> rows;            ///< by name

  /// What the batch as a whole exits with: kInterrupted if any model was, else kPass if any model
  /// is neither done nor only short of a gate, else kGate if one is short of a gate, else kDone.
  ExitCode exit_code() const;
};

/// What OUTPUT/NAME/report.json says; `report` may be anything, what it lacks stays absent.
ModelFigures figures_of(const Json& report);
/// "max_size_ratio is 0.41, the bound 0.3"; empty if the report tells of no gate that was missed.
std::string missed_gates_of(const Json& report);

Json to_json(const Zoo& zoo);
/// Throws Error(kOutput) that says what is wrong for anything that to_json() did not write.
Zoo zoo_from_json(const Json& json);
std::string to_csv(const Zoo& zoo);  ///< RFC 4180
std::string to_markdown(const Zoo& zoo);
std::string to_console(const Zoo& zoo);
/// JUnit XML, a test case a model, as CI systems read it: a missed gate is a failure, a model
/// without a result an error, one that was not run is skipped.
std::string to_junit(const Zoo& zoo);

/// "57 done, 2 timed out, 1 crashed".
std::string describe_states(const Zoo& zoo);
/// The row as one line for a log: "net1: done, 91.2 % to 90.8 %, 0.27x, 1.8x as fast, 12.3 s".
std::string describe(const ZooRow& row);

}  // namespace edgecompress
