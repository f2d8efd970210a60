#include "batch/zoo.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "util/text.h"

namespace edgecompress {

namespace {

constexpr std::array<std::pair<ModelState, const char*>, 9> kStateNames = {
    {{ModelState::kDone, "done"},
     {ModelState::kGateMissed, "gate missed"},
     {ModelState::kBadModel, "bad model"},
     {ModelState::kFailed, "failed"},
     {ModelState::kCrashed, "crashed"},
     {ModelState::kTimedOut, "timed out"},
     {ModelState::kOutOfMemory, "out of memory"},
     {ModelState::kInterrupted, "interrupted"},
     {ModelState::kPending, "pending"}}};

ModelState state_named(const std::string& name) {
  for (const auto& [state, known] : kStateNames) {
    if (name == known) return state;
  }
  throw Error(ExitCode::kOutput, fmt::format("\"{}\" is no state of a model", name));
}

template <class Value>
Json value_or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json();
}

template <class Value>
std::optional<Value> optional_value(const Json& json, const char* key) {
  const Json& value = json.at(key);
  return value.is_null() ? std::nullopt : std::optional<Value>(value.get<Value>());
}

/// What `pointer` points at, if that is a number.
template <class Number>
std::optional<Number> number_at(const Json& json, const char* pointer) {
  const Json::json_pointer place(pointer);
  if (!json.contains(place) || !json.at(place).is_number()) return std::nullopt;
  return json.at(place).get<Number>();
}

Json to_json(const ZooRow& row) {
  const ModelFigures& figures = row.figures;
  return {{"name", row.name},
          {"model", row.model},
          {"state", to_string(row.state)},
          {"reason", row.reason},
          {"exit_code", value_or_null(row.exit_code)},
          {"signal", value_or_null(row.signal)},
          {"metric", figures.metric},
          {"accuracy_before", value_or_null(figures.accuracy_before)},
          {"accuracy_after", value_or_null(figures.accuracy_after)},
          {"bytes_before", value_or_null(figures.bytes_before)},
          {"bytes_after", value_or_null(figures.bytes_after)},
          {"latency_before_ms", value_or_null(figures.latency_before_ms)},
          {"latency_after_ms", value_or_null(figures.latency_after_ms)},
          {"speedup", value_or_null(figures.speedup)},
          {"seconds", row.seconds},
          {"cpu_seconds", row.cpu_seconds},
          {"peak_memory_bytes", row.peak_memory_bytes},
          {"model_sha256", row.model_sha256},
          {"settings_sha256", row.settings_sha256}};
}

ZooRow row_from_json(const Json& json) {
  ZooRow row;
  json.at("name").get_to(row.name);
  json.at("model").get_to(row.model);
  row.state = state_named(json.at("state").get<std::string>());
  json.at("reason").get_to(row.reason);
  row.exit_code = optional_value<int>(json, "exit_code");
  row.signal = optional_value<int>(json, "signal");
  json.at("metric").get_to(row.figures.metric);
  row.figures.accuracy_before = optional_value<double>(json, "accuracy_before");
  row.figures.accuracy_after = optional_value<double>(json, "accuracy_after");
  row.figures.bytes_before = optional_value<std::int64_t>(json, "bytes_before");
  row.figures.bytes_after = optional_value<std::int64_t>(json, "bytes_after");
  row.figures.latency_before_ms = optional_value<double>(json, "latency_before_ms");
  row.figures.latency_after_ms = optional_value<double>(json, "latency_after_ms");
  row.figures.speedup = optional_value<double>(json, "speedup");
  json.at("seconds").get_to(row.seconds);
  json.at("cpu_seconds").get_to(row.cpu_seconds);
  json.at("peak_memory_bytes").get_to(row.peak_memory_bytes);
  json.at("model_sha256").get_to(row.model_sha256);
  json.at("settings_sha256").get_to(row.settings_sha256);
  return row;
}

}  // namespace

std::string to_string(ModelState state) {
  for (const auto& [known, name] : kStateNames) {
    if (state == known) return name;
  }
  return "unknown";
}

ExitCode Zoo::exit_code() const {
  const auto has = [this](const auto& is_so) {
    return std::any_of(rows.begin(), rows.end(), is_so);
  };
  if (has([](const ZooRow& row) { return row.state == ModelState::kInterrupted; })) {
    return ExitCode::kInterrupted;
  }
  if (has([](const ZooRow& row) {
        return row.state != ModelState::kDone && row.state != ModelState::kGateMissed;
      })) {
    return ExitCode::kPass;
  }
  const bool is_short = has([](const ZooRow& row) { return row.state == ModelState::kGateMissed; });
  return is_short ? ExitCode::kGate : ExitCode::kDone;
}

ModelFigures figures_of(const Json& report) {
  ModelFigures figures;
  const auto take = [&](const std::string& metric, const char* before, const char* after) {
    figures.accuracy_after = number_at<double>(report, after);
    if (!figures.accuracy_after) return false;
    if (*before != 0) figures.accuracy_before = number_at<double>(report, before);
    figures.metric = metric;
    return true;
  };
  const auto metric_of = [&](const char* pointer) {
    const Json::json_pointer place(pointer);
    return report.contains(place) && report.at(place).is_string()
               ? report.at(place).get<std::string>()
               : std::string();
  };
  // The best witness that there is: labels that no choice looked at, other labels, the original.
  take(metric_of("/final/test/metric"), "/baseline/test/value", "/final/test/value") ||
      take(metric_of("/final/validation/metric"), "/baseline/validation/value",
           "/final/validation/value") ||
      take("fidelity_top1", "", "/final/fidelity/top1_agreement") ||
      take("fidelity_sqnr_db", "", "/final/fidelity/sqnr_db");
  figures.bytes_before = number_at<std::int64_t>(report, "/baseline/size/file_bytes");
  figures.bytes_after = number_at<std::int64_t>(report, "/final/size/file_bytes");
  figures.latency_before_ms = number_at<double>(report, "/baseline/latency/median_ms");
  figures.latency_after_ms = number_at<double>(report, "/final/latency/median_ms");
  figures.speedup = number_at<double>(report, "/final/speedup");
  return figures;
}

std::string missed_gates_of(const Json& report) {
  std::vector<std::string> missed;
  const auto look = [&missed](const Json& owner, const std::string& prefix) {
    for (const Json& gate : owner.value("gates", Json::array())) {
      if (!gate.is_object() || gate.value("is_met", true)) continue;
      missed.push_back(fmt::format("{}{} is {:.4g}, the bound {:.4g}", prefix,
                                   gate.value("gate", "a gate"), gate.value("found", 0.0),
                                   gate.value("bound", 0.0)));
    }
  };
  try {
    look(report, "");
    if (missed.empty()) {
      for (const Json& step : report.at("steps"))
        look(step, step.at("pass").get<std::string>() + ": ");
    }
  } catch (const Json::exception&) {
    // It was not one of our reports; then it tells of no gate.
  }
  return join(missed, "; ");
}

Json to_json(const Zoo& zoo) {
  Json rows = Json::array();
  std::map<std::string, std::int64_t> counts;
  for (const ZooRow& row : zoo.rows) {
    rows.push_back(to_json(row));
    ++counts[to_string(row.state)];
  }
  return {{"schema_version", Zoo::kSchemaVersion},
          {"edgecompress_version", EDGECOMPRESS_VERSION},
          {"recipe", zoo.recipe},
          {"started", zoo.started},
          {"seconds", zoo.seconds},
          {"jobs", zoo.jobs},
          {"threads", zoo.threads},
          {"states", counts},
          {"models", std::move(rows)}};
}

Zoo zoo_from_json(const Json& json) {
  try {
    if (json.at("schema_version") != Zoo::kSchemaVersion) {
      throw Error(ExitCode::kOutput, "its schema_version is not one that this version writes");
    }
    Zoo zoo;
    json.at("recipe").get_to(zoo.recipe);
    json.at("started").get_to(zoo.started);
    json.at("seconds").get_to(zoo.seconds);
    json.at("jobs").get_to(zoo.jobs);
    json.at("threads").get_to(zoo.threads);
    for (const Json& row : json.at("models")) zoo.rows.push_back(row_from_json(row));
    return zoo;
  } catch (const Json::exception& error) {
    throw Error(ExitCode::kOutput, std::string("not a report of a batch: ") + error.what());
  }
}

std::string describe_states(const Zoo& zoo) {
  std::vector<std::string> parts;
  for (const auto& [state, name] : kStateNames) {
    const auto count =
        std::count_if(zoo.rows.begin(), zoo.rows.end(),
                      [state = state](const ZooRow& row) { return row.state == state; });
    if (count > 0) parts.push_back(fmt::format("{} {}", count, name));
  }
  return parts.empty() ? "no models" : join(parts, ", ");
}

}  // namespace edgecompress
