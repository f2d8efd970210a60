// What a run found out, as plain data. Whoever measures fills it in; writers only format it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

/// How well a model does its task on one data set.
struct Score {
  std::string data;    ///< "validation", "test"
  std::string metric;  ///< top1, top5, f1, mse, mae
  double value = 0;
  std::int64_t samples = 0;
  std::optional<std::int64_t> correct;  ///< of top1 and top5: samples that are right
  bool higher_is_better = true;
};

/// How near the outputs are to those of a reference model; needs no labels.
struct Fidelity {
  std::string data;
  std::int64_t samples = 0;
  double cosine = 0;   ///< mean over samples of the cosine of the outputs, in [-1, 1]
  double sqnr_db = 0;  ///< 10 log10(signal power / error power); 200 where the error is 0
  std::optional<double>
      top1_agreement;  ///< share of samples with the same argmax; class scores only
};

struct Size {
  std::int64_t file_bytes = 0;
  std::int64_t zipped_bytes = 0;  ///< of the file after deflate
  std::int64_t parameters = 0;    ///< stored weights and biases, packed INT8 ones included
  std::int64_t nonzero_parameters = 0;
  std::int64_t weight_bytes = 0;  ///< of the stored parameters
};

struct Latency {
  double median_ms = 0, p10_ms = 0, p90_ms = 0;
  std::int64_t batch_size = 1, threads = 1, warm_up = 0, repeats = 0;
  std::string form;  ///< what ran: "as saved", "frozen", "channels_last", "optimize_for_inference"
};

struct Evaluation {
  std::optional<Score> validation;   ///< what choices are made on
  std::optional<Score> test;         ///< only reported
  std::optional<Fidelity> fidelity;  ///< against the run's input model
  Size size;
  std::optional<Latency> latency;
  std::optional<double> speedup;     ///< baseline median / this median, from one interleaved run
  std::optional<std::int64_t> macs;  ///< multiply-accumulates of one example input
  /// Growth of the resident high-water mark while the stored file is loaded and run once; 0:
  /// unknown.
  std::int64_t peak_memory_bytes = 0;
};

struct GateResult {
  std::string gate;  ///< "max_accuracy_drop"
  double bound = 0, found = 0;
  bool is_met = true;
  std::string note;  ///< "on validation, top1", or why it could not be checked
};

/// What a step is expected to leave and to take, told before the run.
struct Forecast {
  std::int64_t parameters = 0, file_bytes = 0;
  std::optional<std::int64_t> macs;                ///< of one example input
  std::vector<std::vector<std::int64_t>> outputs;  ///< shapes that the example inputs give
  double seconds = 0;
  std::int64_t peak_memory_bytes = 0;
  std::string obstacle;  ///< why nothing can be told; else empty
};

enum class StepState { kKept, kUnchanged, kRolledBack, kFailed, kInterrupted };
std::string to_string(StepState state);

struct StepRecord {
  std::string pass;
  Json options;
  StepState state = StepState::kKept;
  std::string note;                      ///< what the pass said, or why it was rolled back
  std::map<std::string, double> counts;  ///< "layers_quantized": 21
  /// Named findings: layers left as they are and why, loss curves, ... (JSON arrays and objects).
  Json details = Json::object();
  double seconds = 0;
  std::int64_t peak_memory_bytes = 0;  ///< high-water mark of the process during the step
  /// When an earlier run did the step whose work this one took over, seconds and memory with it;
  /// empty: this run did it. Evaluations are always this run's.
  std::string cached_since;
  std::optional<Evaluation> evaluation;
  std::vector<GateResult> gates;
  std::optional<Forecast> forecast;  ///< of a dry run of the same
};

struct Environment {
  std::string edgecompress_version, libtorch_version, quantized_engine, cpu, blas, blas_core;
  std::int64_t cores = 0, threads = 0;
  std::string operating_system;
};

struct Report {
  static constexpr int kSchemaVersion = 1;
  std::string name;
  std::int64_t seed = 0;
  std::string started;  ///< ISO 8601, UTC
  double seconds = 0;
  Environment environment;
  std::map<std::string, std::string>
      sha256;                              ///< model, recipe, and each data file by its set's name
  std::vector<std::string> notes;          ///< "no validation set: choices were made on test"
  std::vector<std::string> not_canonical;  ///< what the canonical form could not reach in the model
  Evaluation baseline;
  std::vector<StepRecord> steps;
  std::vector<GateResult> gates;  ///< of the whole run
  std::string best_step;          ///< the step the written model comes from ("3 quantize_int8")
  std::map<std::string, std::string> files;  ///< "model": "model.pt"

  bool gates_met() const;
  /// The evaluation of the written model: that of the last kept step, or the baseline.
  const Evaluation& final_evaluation() const;
};

Json to_json(const Report& report);
std::string to_markdown(const Report& report);
/// The table that `run` ends with.
std::string to_console(const Report& report);

/// Of one evaluation, for `evaluate` and `benchmark`.
Json to_json(const Evaluation& evaluation);
Json to_json(const Environment& environment);
Json to_json(const Forecast& forecast);
/// Throws nlohmann::json::exception for what to_json() did not write.
Forecast forecast_from_json(const Json& json);

}  // namespace edgecompress
