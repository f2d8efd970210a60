#include "report/format.h"

#include <fmt/format.h>

#include <cmath>

#include "util/text.h"

namespace edgecompress {

namespace {

bool is_share(const std::string& metric) {
  return metric == "top1" || metric == "top5" || metric == "f1";
}

/// As many digits as so many samples can tell apart.
std::string percent_text(double share, std::int64_t samples) {
  return fmt::format("{:.{}f} %", share * 100, samples >= 10000 ? 2 : 1);
}

template <class Part, class Format>
std::string text_or_missing(const std::optional<Part>& part, const Format& format) {
  return part ? format(*part) : kMissing;
}

std::string size_cell(std::int64_t bytes, std::int64_t before) {
  if (bytes <= 0) return kMissing;
  return fmt::format("{} ({})", human_bytes(bytes), ratio_text(bytes, before));
}

std::string parameters_cell(const Size& size) {
  if (size.file_bytes <= 0) return kMissing;
  return fmt::format("{} ({})", human_count(size.parameters), human_count(size.nonzero_parameters));
}

std::vector<std::string> evaluation_cells(const Evaluation& evaluation, const Size& before) {
  return {
      text_or_missing(evaluation.validation, score_text) + " / " +
          text_or_missing(evaluation.test, score_text),
      text_or_missing(evaluation.fidelity, fidelity_text),
      size_cell(evaluation.size.file_bytes, before.file_bytes),
      size_cell(evaluation.size.zipped_bytes, before.zipped_bytes),
      parameters_cell(evaluation.size),
      text_or_missing(evaluation.latency,
                      [](const Latency& latency) { return milliseconds_text(latency.median_ms); }),
      text_or_missing(evaluation.speedup,
                      [](double speedup) { return fmt::format("{:.2f}x", speedup); })};
}

/// An original that gets a new head in the run was not scored.
const Evaluation& scored_evaluation(const Report& report) {
  const bool is_scored = report.baseline.validation || report.baseline.test;
  return is_scored ? report.baseline : report.final_evaluation();
}

/// The metric of the run, as far as anything was scored.
std::string metric_of(const Evaluation& evaluation) {
  if (evaluation.validation) return evaluation.validation->metric;
  return evaluation.test ? evaluation.test->metric : "accuracy";
}

}  // namespace

std::string number_text(double value) {
  if (!std::isfinite(value)) return kMissing;
  const bool is_whole = value == std::floor(value) && std::abs(value) < 1e15;
  if (is_whole) return fmt::format("{:.0f}", value);
  return fmt::format("{:.{}g}", value, std::abs(value) < 1e4 ? 4 : 6);
}

std::string score_text(const Score& score) {
  if (!std::isfinite(score.value)) return kMissing;
  return is_share(score.metric) ? percent_text(score.value, score.samples)
                                : fmt::format("{:.4g}", score.value);
}

std::string score_with_counts(const Score& score) {
  if (score.correct) {
    return fmt::format("{} ({} of {})", score_text(score), *score.correct, score.samples);
  }
  return fmt::format("{} ({} samples)", score_text(score), score.samples);
}

std::string fidelity_text(const Fidelity& fidelity) {
  const std::string agreement = fidelity.top1_agreement
                                    ? percent_text(*fidelity.top1_agreement, fidelity.samples)
                                    : fmt::format("cos {:.4f}", fidelity.cosine);
  return fmt::format("{}, {:.1f} dB", agreement, fidelity.sqnr_db);
}

std::string ratio_text(std::int64_t after, std::int64_t before) {
  if (after <= 0 || before <= 0) return kMissing;
  return fmt::format("{:.2f}x", static_cast<double>(after) / static_cast<double>(before));
}

std::string milliseconds_text(double milliseconds) {
  if (!std::isfinite(milliseconds)) return kMissing;
  const int digits = milliseconds < 1 ? 3 : milliseconds < 100 ? 2 : 0;
  return fmt::format("{:.{}f} ms", milliseconds, digits);
}

Table summary_table(const Report& report) {
  constexpr auto kLeft = Table::Align::kLeft;
  constexpr auto kRight = Table::Align::kRight;
  Table table({"step", "state", metric_of(scored_evaluation(report)) + " (validation / test)",
               "fidelity", "file", "zipped", "parameters (nonzero)", "latency", "speed-up", "time"},
              {kLeft, kLeft, kRight, kRight, kRight, kRight, kRight, kRight, kRight, kRight});
  const auto add_row = [&](const std::string& name, const std::string& state,
                           const std::optional<Evaluation>& evaluation, const std::string& time) {
    std::vector<std::string> cells(7, kMissing);
    if (evaluation) cells = evaluation_cells(*evaluation, report.baseline.size);
    cells.insert(cells.begin(), {name, state});
    cells.push_back(time);
    table.add_row(std::move(cells));
  };
  add_row("original", kMissing, report.baseline, kMissing);
  for (std::size_t i = 0; i < report.steps.size(); ++i) {
    const StepRecord& step = report.steps[i];
    add_row(fmt::format("{} {}", i + 1, step.pass), to_string(step.state), step.evaluation,
            human_duration(step.seconds));
  }
  return table;
}

Table gate_table(const std::vector<GateResult>& gates) {
  Table table({"gate", "bound", "found", "met", "note"},
              {Table::Align::kLeft, Table::Align::kRight, Table::Align::kRight});
  for (const GateResult& gate : gates) {
    table.add_row({gate.gate, number_text(gate.bound),
                   std::isfinite(gate.found) ? fmt::format("{:.4g}", gate.found) : kMissing,
                   gate.is_met ? "yes" : "NO", gate.note});
  }
  return table;
}

Table forecast_table(const StepRecord& step) {
  using Align = Table::Align;
  const Forecast& forecast = *step.forecast;
  const Evaluation& fact = *step.evaluation;
  Table table({"", "forecast", "fact", "fact / forecast"},
              {Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  const auto add = [&](const char* name, double foretold, double found, auto as_text) {
    table.add_row({name, as_text(foretold), as_text(found),
                   foretold > 0 ? fmt::format("{:.3f}", found / foretold) : kMissing});
  };
  const auto count = [](double value) { return number_text(value); };
  const auto bytes = [](double value) { return human_bytes(std::llround(value)); };
  add("parameters", static_cast<double>(forecast.parameters),
      static_cast<double>(fact.size.parameters), count);
  if (forecast.macs && fact.macs) {
    add("multiply-accumulates", static_cast<double>(*forecast.macs),
        static_cast<double>(*fact.macs), count);
  }
  add("file", static_cast<double>(forecast.file_bytes), static_cast<double>(fact.size.file_bytes),
      bytes);
  add("time of the step", forecast.seconds, step.seconds, human_duration);
  add("peak memory of the step", static_cast<double>(forecast.peak_memory_bytes),
      static_cast<double>(step.peak_memory_bytes), bytes);
  return table;
}

std::vector<std::string> describe_measurement(const Report& report) {
  const Evaluation& evaluation = report.baseline;
  const Evaluation& scored = scored_evaluation(report);
  std::vector<std::string> lines;
  for (const auto& score : {scored.validation, scored.test}) {
    if (score) {
      lines.push_back(
          fmt::format("{}: {} samples of {}", score->metric, score->samples, score->data));
    }
  }
  const Evaluation& last = report.final_evaluation();
  if (last.fidelity) {
    lines.push_back(
        fmt::format("fidelity: {} and SQNR of the outputs against the original's, "
                    "{} samples of {}",
                    last.fidelity->top1_agreement ? "top-1 agreement" : "mean cosine",
                    last.fidelity->samples, last.fidelity->data));
  }
  lines.emplace_back("size: bytes of the stored file, and of that file after deflate");
  if (evaluation.latency) {
    const Latency& latency = *evaluation.latency;
    lines.push_back(
        fmt::format("latency: median of {} repeats, interleaved with the original's, after {} "
                    "warm-up passes; batch {}, {} thread{}",
                    latency.repeats, latency.warm_up, latency.batch_size, latency.threads,
                    latency.threads == 1 ? "" : "s"));
    lines.push_back(
        fmt::format("speed-up: against the original in the fastest float form that was found "
                    "here ({}), from the same interleaved run",
                    latency.form));
  }
  return lines;
}

std::string describe_written_model(const Report& report) {
  const auto model = report.files.find("model");
  const std::string name =
      model == report.files.end() ? "The model" : "The written model, " + model->second + ",";
  return report.best_step.empty() ? name + " is the original: no step was kept."
                                  : fmt::format("{} is that of step {}.", name, report.best_step);
}

}  // namespace edgecompress
