// The report for programs. What was not measured is null, never a made-up number.
#include "report/report.h"

namespace edgecompress {

namespace {

template <class Value>
Json value_or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json();
}

Json to_json(const Score& score) {
  return {{"data", score.data},
          {"metric", score.metric},
          {"value", score.value},
          {"samples", score.samples},
          {"correct", value_or_null(score.correct)},
          {"higher_is_better", score.higher_is_better}};
}

Json to_json(const Fidelity& fidelity) {
  return {{"data", fidelity.data},
          {"samples", fidelity.samples},
          {"cosine", fidelity.cosine},
          {"sqnr_db", fidelity.sqnr_db},
          {"top1_agreement", value_or_null(fidelity.top1_agreement)}};
}

Json to_json(const Size& size) {
  return {{"file_bytes", size.file_bytes},
          {"zipped_bytes", size.zipped_bytes},
          {"parameters", size.parameters},
          {"nonzero_parameters", size.nonzero_parameters},
          {"weight_bytes", size.weight_bytes}};
}

Json to_json(const Latency& latency) {
  return {{"median_ms", latency.median_ms}, {"p10_ms", latency.p10_ms},
          {"p90_ms", latency.p90_ms},       {"batch_size", latency.batch_size},
          {"threads", latency.threads},     {"warm_up", latency.warm_up},
          {"repeats", latency.repeats},     {"form", latency.form}};
}

Json to_json(const std::vector<GateResult>& gates) {
  Json list = Json::array();
  for (const GateResult& gate : gates) {
    list.push_back({{"gate", gate.gate},
                    {"bound", gate.bound},
                    {"found", gate.found},
                    {"is_met", gate.is_met},
                    {"note", gate.note}});
  }
  return list;
}

template <class Part>
Json part_or_null(const std::optional<Part>& part) {
  return part ? to_json(*part) : Json();
}

Json to_json(const StepRecord& step) {
  return {{"pass", step.pass},
          {"options", step.options},
          {"state", to_string(step.state)},
          {"note", step.note},
          {"counts", step.counts},
          {"details", step.details},
          {"seconds", step.seconds},
          {"cached_since", step.cached_since.empty() ? Json() : Json(step.cached_since)},
          {"peak_memory_bytes", step.peak_memory_bytes > 0 ? Json(step.peak_memory_bytes) : Json()},
          {"evaluation", step.evaluation ? to_json(*step.evaluation) : Json()},
          {"gates", to_json(step.gates)},
          {"forecast", part_or_null(step.forecast)}};
}

}  // namespace

Json to_json(const Evaluation& evaluation) {
  const std::int64_t memory = evaluation.peak_memory_bytes;
  return {{"validation", part_or_null(evaluation.validation)},
          {"test", part_or_null(evaluation.test)},
          {"fidelity", part_or_null(evaluation.fidelity)},
          {"size", to_json(evaluation.size)},
          {"latency", part_or_null(evaluation.latency)},
          {"speedup", value_or_null(evaluation.speedup)},
          {"macs", value_or_null(evaluation.macs)},
          {"peak_memory_bytes", memory > 0 ? Json(memory) : Json()}};
}

Json to_json(const Environment& environment) {
  return {{"edgecompress_version", environment.edgecompress_version},
          {"libtorch_version", environment.libtorch_version},
          {"quantized_engine", environment.quantized_engine},
          {"cpu", environment.cpu},
          {"blas", environment.blas},
          {"blas_core", environment.blas_core},
          {"cores", environment.cores},
          {"threads", environment.threads},
          {"operating_system", environment.operating_system}};
}

Json to_json(const Forecast& forecast) {
  return {{"parameters", forecast.parameters},    {"file_bytes", forecast.file_bytes},
          {"macs", value_or_null(forecast.macs)}, {"outputs", forecast.outputs},
          {"seconds", forecast.seconds},          {"peak_memory_bytes", forecast.peak_memory_bytes},
          {"obstacle", forecast.obstacle}};
}

Forecast forecast_from_json(const Json& json) {
  Forecast forecast;
  json.at("parameters").get_to(forecast.parameters);
  json.at("file_bytes").get_to(forecast.file_bytes);
  if (!json.at("macs").is_null()) forecast.macs = json.at("macs").get<std::int64_t>();
  json.at("outputs").get_to(forecast.outputs);
  json.at("seconds").get_to(forecast.seconds);
  json.at("peak_memory_bytes").get_to(forecast.peak_memory_bytes);
  json.at("obstacle").get_to(forecast.obstacle);
  return forecast;
}

Json to_json(const Report& report) {
  Json steps = Json::array();
  for (const StepRecord& step : report.steps) steps.push_back(to_json(step));
  return {{"schema_version", Report::kSchemaVersion},
          {"name", report.name},
          {"seed", report.seed},
          {"started", report.started},
          {"seconds", report.seconds},
          {"environment", to_json(report.environment)},
          {"sha256", report.sha256},
          {"notes", report.notes},
          {"not_canonical", report.not_canonical},
          {"baseline", to_json(report.baseline)},
          {"steps", std::move(steps)},
          {"gates", to_json(report.gates)},
          {"gates_met", report.gates_met()},
          {"final", to_json(report.final_evaluation())},
          {"best_step", report.best_step},
          {"files", report.files}};
}

}  // namespace edgecompress
