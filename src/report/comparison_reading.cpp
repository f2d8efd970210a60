// Reports as they come back from files.
#include <limits>

#include "edgecompress/error.h"
#include "report/comparison.h"

namespace edgecompress {

namespace {

/// A part that may be null, or absent in reports of other versions. Throws if `json` is no object.
const Json* part_of(const Json& json, const char* key) {
  const auto& object = json.get_ref<const Json::object_t&>();
  const auto found = object.find(key);
  return found == object.end() || found->second.is_null() ? nullptr : &found->second;
}

template <class Number>
void take_number(const Json& json, const char* key, Number& out) {
  if (const Json* value = part_of(json, key)) value->get_to(out);
}

/// What JSON has no word for (not a number, infinity) was written as null.
double required_number(const Json& json, const char* key) {
  const Json* value = part_of(json, key);
  return value ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

template <class Value>
std::optional<Value> optional_number(const Json& json, const char* key) {
  const Json* value = part_of(json, key);
  return value ? std::optional<Value>(value->get<Value>()) : std::nullopt;
}

std::optional<Score> score_in(const Json& json, const char* key) {
  const Json* part = part_of(json, key);
  if (!part) return std::nullopt;
  Score score;
  part->at("data").get_to(score.data);
  part->at("metric").get_to(score.metric);
  score.value = required_number(*part, "value");
  take_number(*part, "samples", score.samples);
  take_number(*part, "higher_is_better", score.higher_is_better);
  score.correct = optional_number<std::int64_t>(*part, "correct");
  return score;
}

std::optional<Fidelity> fidelity_in(const Json& json) {
  const Json* part = part_of(json, "fidelity");
  if (!part) return std::nullopt;
  Fidelity fidelity;
  part->at("data").get_to(fidelity.data);
  take_number(*part, "samples", fidelity.samples);
  fidelity.cosine = required_number(*part, "cosine");
  fidelity.sqnr_db = required_number(*part, "sqnr_db");
  fidelity.top1_agreement = optional_number<double>(*part, "top1_agreement");
  return fidelity;
}

std::optional<Latency> latency_in(const Json& json) {
  const Json* part = part_of(json, "latency");
  if (!part) return std::nullopt;
  Latency latency;
  latency.median_ms = required_number(*part, "median_ms");
  latency.p10_ms = required_number(*part, "p10_ms");
  latency.p90_ms = required_number(*part, "p90_ms");
  take_number(*part, "batch_size", latency.batch_size);
  take_number(*part, "threads", latency.threads);
  take_number(*part, "warm_up", latency.warm_up);
  take_number(*part, "repeats", latency.repeats);
  take_number(*part, "form", latency.form);
  return latency;
}

ComparedRun::Step step_from_json(const Json& json, std::size_t number) {
  ComparedRun::Step step;
  step.name = std::to_string(number) + " " + json.at("pass").get<std::string>();
  json.at("state").get_to(step.state);
  if (const Json* options = part_of(json, "options")) step.options = *options;
  if (const Json* evaluation = part_of(json, "evaluation")) {
    step.evaluation = evaluation_from_json(*evaluation);
  }
  return step;
}

}  // namespace

Evaluation evaluation_from_json(const Json& json) {
  Evaluation evaluation;
  evaluation.validation = score_in(json, "validation");
  evaluation.test = score_in(json, "test");
  evaluation.fidelity = fidelity_in(json);
  evaluation.latency = latency_in(json);
  if (const Json* size = part_of(json, "size")) {
    take_number(*size, "file_bytes", evaluation.size.file_bytes);
    take_number(*size, "zipped_bytes", evaluation.size.zipped_bytes);
    take_number(*size, "parameters", evaluation.size.parameters);
    take_number(*size, "nonzero_parameters", evaluation.size.nonzero_parameters);
    take_number(*size, "weight_bytes", evaluation.size.weight_bytes);
  }
  evaluation.speedup = optional_number<double>(json, "speedup");
  evaluation.macs = optional_number<std::int64_t>(json, "macs");
  take_number(json, "peak_memory_bytes", evaluation.peak_memory_bytes);
  return evaluation;
}

Environment environment_from_json(const Json& json) {
  Environment environment;
  take_number(json, "edgecompress_version", environment.edgecompress_version);
  take_number(json, "libtorch_version", environment.libtorch_version);
  take_number(json, "quantized_engine", environment.quantized_engine);
  take_number(json, "cpu", environment.cpu);
  take_number(json, "blas", environment.blas);
  take_number(json, "blas_core", environment.blas_core);
  take_number(json, "cores", environment.cores);
  take_number(json, "threads", environment.threads);
  take_number(json, "operating_system", environment.operating_system);
  return environment;
}

ComparedRun compared_run(const Json& report, const std::string& name) {
  try {
    const int version = report.at("schema_version").get<int>();
    if (version != Report::kSchemaVersion) {
      throw Error(ExitCode::kData,
                  name + ": a report of schema version " + std::to_string(version) + ", expected " +
                      std::to_string(Report::kSchemaVersion),
                  "compare with the edgecompress that wrote it");
    }
    ComparedRun run;
    run.name = name;
    run.environment = environment_from_json(report.at("environment"));
    if (const Json* hashes = part_of(report, "sha256")) hashes->get_to(run.sha256);
    run.original = evaluation_from_json(report.at("baseline"));
    for (const Json& step : report.at("steps")) {
      run.steps.push_back(step_from_json(step, run.steps.size() + 1));
    }
    run.final = evaluation_from_json(report.at("final"));
    return run;
  } catch (const Json::exception& error) {
    throw Error(ExitCode::kData, name + ": not a report of a run: " + error.what(),
                "give a report.json that `edgecompress run` wrote, or the folder that holds it");
  }
}

}  // namespace edgecompress
