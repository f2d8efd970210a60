#include "report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "util/text.h"

namespace edgecompress {

namespace {

using Unit = Figure::Unit;
using Evaluations = std::vector<const Evaluation*>;  // null: the run has none

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// ---- Figures --------------------------------------------------------------------------------

std::optional<double> change_of(Unit unit, double before, double after) {
  if (unit == Unit::kShare || unit == Unit::kPlain || unit == Unit::kDecibel) return after - before;
  return before > 0 ? std::optional<double>(after / before) : std::nullopt;
}

using Reader = std::function<std::optional<double>(const Evaluation&)>;

/// Nothing if no run has it.
void add_figure(std::vector<Figure>& figures, const std::string& name, Unit unit,
                const Evaluations& evaluations, const Reader& read) {
  Figure figure{name, unit, {}, {}};
  for (const Evaluation* evaluation : evaluations) {
    std::optional<double> value = evaluation ? read(*evaluation) : std::nullopt;
    if (value && !std::isfinite(*value)) value.reset();
    const auto& first = figure.values.empty() ? value : figure.values.front();
    figure.changes.push_back(
        value && first && !figure.values.empty() ? change_of(unit, *first, *value) : std::nullopt);
    figure.values.push_back(value);
  }
  const bool is_known = std::any_of(figure.values.begin(), figure.values.end(),
                                    [](const auto& value) { return value.has_value(); });
  if (is_known) figures.push_back(std::move(figure));
}

using ScoreMember = std::optional<Score> Evaluation::*;

/// A figure for each metric that a run scored the set by: those of other metrics are other figures.
void add_scores(std::vector<Figure>& figures, const Evaluations& evaluations, ScoreMember member) {
  std::set<std::string> metrics;
  for (const Evaluation* evaluation : evaluations) {
    if (evaluation && evaluation->*member) metrics.insert((evaluation->*member)->metric);
  }
  for (const std::string& metric : metrics) {
    const bool is_share = metric == "top1" || metric == "top5" || metric == "f1";
    const std::string data = member == &Evaluation::test ? "test" : "validation";
    add_figure(figures, fmt::format("{} ({})", metric, data),
               is_share ? Unit::kShare : Unit::kPlain, evaluations,
               [&](const Evaluation& evaluation) -> std::optional<double> {
                 const auto& score = evaluation.*member;
                 if (!score || score->metric != metric) return std::nullopt;
                 return score->value;
               });
  }
}

/// Sizes and counts of 0 were not measured.
std::optional<double> measured(std::int64_t value) {
  return value > 0 ? std::optional<double>(static_cast<double>(value)) : std::nullopt;
}

std::vector<Figure> figures_of(const Evaluations& all) {
  using Value = std::optional<double>;
  std::vector<Figure> figures;
  add_scores(figures, all, &Evaluation::test);
  add_scores(figures, all, &Evaluation::validation);
  add_figure(figures, "top-1 agreement", Unit::kShare, all, [](const Evaluation& it) -> Value {
    return it.fidelity ? it.fidelity->top1_agreement : std::nullopt;
  });
  add_figure(figures, "SQNR", Unit::kDecibel, all, [](const Evaluation& it) -> Value {
    return it.fidelity ? Value(it.fidelity->sqnr_db) : std::nullopt;
  });
  add_figure(figures, "file", Unit::kBytes, all,
             [](const Evaluation& it) { return measured(it.size.file_bytes); });
  add_figure(figures, "zipped", Unit::kBytes, all,
             [](const Evaluation& it) { return measured(it.size.zipped_bytes); });
  add_figure(figures, "parameters", Unit::kCount, all,
             [](const Evaluation& it) { return measured(it.size.parameters); });
  add_figure(figures, "MACs", Unit::kCount, all, [](const Evaluation& it) -> Value {
    return it.macs ? measured(*it.macs) : std::nullopt;
  });
  add_figure(figures, "latency", Unit::kMilliseconds, all, [](const Evaluation& it) -> Value {
    return it.latency ? Value(it.latency->median_ms) : std::nullopt;
  });
  add_figure(figures, "speed-up", Unit::kRatio, all,
             [](const Evaluation& it) { return it.speedup; });
  add_figure(figures, "memory", Unit::kBytes, all,
             [](const Evaluation& it) { return measured(it.peak_memory_bytes); });
  return figures;
}

// ---- Steps ----------------------------------------------------------------------------------

const ComparedRun::Step* find_step(const ComparedRun& run, std::size_t index,
                                   const std::string& name) {
  const bool is_there = index < run.steps.size() && run.steps[index].name == name;
  return is_there ? &run.steps[index] : nullptr;
}

/// Each pointer of the options whose value is not the same in all runs that have the step.
void add_option_differences(const std::vector<const ComparedRun::Step*>& steps,
                            const std::string& name, Comparison& comparison) {
  std::set<std::string> pointers;
  std::vector<Json> options;
  for (const auto* step : steps) options.push_back(step ? step->options.flatten() : Json::object());
  for (const Json& flat : options) {
    for (const auto& [pointer, value] : flat.items()) pointers.insert(pointer);
  }
  for (const std::string& pointer : pointers) {
    Comparison::Difference difference{name + pointer, {}, false};
    std::set<std::string> found;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto value = options[i].find(pointer);
      const bool is_there = value != options[i].end();
      difference.values.push_back(
          is_there ? value->dump(-1, ' ', false, Json::error_handler_t::replace) : "");
      if (steps[i]) found.insert(difference.values.back());
    }
    if (found.size() > 1) comparison.differences.push_back(std::move(difference));
  }
}

void add_steps(const std::vector<ComparedRun>& runs, Comparison& comparison) {
  std::size_t most = 0;
  for (const ComparedRun& run : runs) most = std::max(most, run.steps.size());
  for (std::size_t index = 0; index < most; ++index) {
    std::vector<std::string> names;
    for (const ComparedRun& run : runs) {
      if (index >= run.steps.size()) continue;
      const std::string& name = run.steps[index].name;
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    for (const std::string& name : names) {
      Comparison::Section section{name, {}, {}};
      std::vector<const ComparedRun::Step*> steps;
      Evaluations evaluations;
      for (const ComparedRun& run : runs) {
        steps.push_back(find_step(run, index, name));
        section.states.push_back(steps.back() ? steps.back()->state : "");
        const bool is_measured = steps.back() && steps.back()->evaluation;
        evaluations.push_back(is_measured ? &*steps.back()->evaluation : nullptr);
      }
      section.figures = figures_of(evaluations);
      comparison.sections.push_back(std::move(section));
      add_option_differences(steps, name, comparison);
    }
  }
}

// ---- What else differs ----------------------------------------------------------------------

void add_difference(const std::vector<ComparedRun>& runs, const std::string& what,
                    bool spoils_latency, Comparison& comparison,
                    const std::function<std::string(const ComparedRun&)>& read) {
  Comparison::Difference difference{what, {}, spoils_latency};
  for (const ComparedRun& run : runs) difference.values.push_back(read(run));
  const auto& values = difference.values;
  if (std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end())
    return;
  comparison.differences.push_back(std::move(difference));
}

void add_environment_differences(const std::vector<ComparedRun>& runs, Comparison& comparison) {
  const auto add = [&](const char* what, bool spoils_latency, auto member) {
    add_difference(runs, what, spoils_latency, comparison, [member](const ComparedRun& run) {
      return fmt::format("{}", run.environment.*member);
    });
  };
  add("edgecompress", false, &Environment::edgecompress_version);
  add("LibTorch", true, &Environment::libtorch_version);
  add("INT8 engine", true, &Environment::quantized_engine);
  add("CPU", true, &Environment::cpu);
  add("BLAS", true, &Environment::blas);
  add("BLAS kernels", true, &Environment::blas_core);
  add("operating system", false, &Environment::operating_system);
  add("cores", false, &Environment::cores);
  add("threads of the run", false, &Environment::threads);
  const auto add_latency = [&](const char* what, std::int64_t Latency::*member) {
    add_difference(runs, what, true, comparison, [member](const ComparedRun& run) {
      return run.final.latency ? std::to_string((*run.final.latency).*member) : std::string();
    });
  };
  add_latency("threads of the latency", &Latency::threads);
  add_latency("batch of the latency", &Latency::batch_size);
}

void add_file_differences(const std::vector<ComparedRun>& runs, Comparison& comparison) {
  constexpr std::size_t kShown = 12;  // of a SHA-256
  std::set<std::string> files;
  for (const ComparedRun& run : runs) {
    for (const auto& file : run.sha256) files.insert(file.first);
  }
  files.erase("recipe");  // what differs in it is told by step
  for (const std::string& file : files) {
    add_difference(runs, file == "model" ? "original model" : file, false, comparison,
                   [&](const ComparedRun& run) {
                     const auto found = run.sha256.find(file);
                     return found == run.sha256.end() ? "" : found->second.substr(0, kShown);
                   });
  }
}

// ---- Thresholds -----------------------------------------------------------------------------

struct Loss {
  double value = kUnknown;
  std::string note;
};

Loss accuracy_loss(const Evaluation& before, const Evaluation& after) {
  for (const auto member : {&Evaluation::test, &Evaluation::validation}) {
    const auto& was = before.*member;
    const auto& is = after.*member;
    if (!was || !is || was->metric != is->metric) continue;
    return {is->higher_is_better ? was->value - is->value : is->value - was->value,
            fmt::format("{} on {}, {:.4g} to {:.4g}", is->metric, is->data, was->value, is->value)};
  }
  if (before.fidelity && after.fidelity && before.fidelity->top1_agreement &&
      after.fidelity->top1_agreement) {
    return {*before.fidelity->top1_agreement - *after.fidelity->top1_agreement,
            "no labels: top-1 agreement with the original"};
  }
  if (before.fidelity && after.fidelity) {
    return {before.fidelity->cosine - after.fidelity->cosine,
            "no labels: cosine with the original"};
  }
  return {kUnknown, "both runs have no accuracy of one metric on one set"};
}

Loss growth(std::int64_t before, std::int64_t after, const std::string& what,
            const std::function<std::string(std::int64_t)>& text) {
  if (before <= 0 || after <= 0) return {kUnknown, what + " are unknown"};
  return {static_cast<double>(after) / static_cast<double>(before) - 1,
          fmt::format("{}, {} to {}", what, text(before), text(after))};
}

Loss slowdown(const ComparedRun& before, const ComparedRun& after) {
  const auto original_of = [](const ComparedRun& run) {
    const auto found = run.sha256.find("model");
    return found == run.sha256.end() ? std::string() : found->second;
  };
  const auto& was = before.final;
  const auto& is = after.final;
  const bool is_same_original =
      !original_of(before).empty() && original_of(before) == original_of(after);
  if (is_same_original && was.speedup && is.speedup && *is.speedup > 0) {
    return {*was.speedup / *is.speedup - 1, fmt::format("speed-ups over the same original, {:.2f}x "
                                                        "to {:.2f}x",
                                                        *was.speedup, *is.speedup)};
  }
  if (!was.latency || !is.latency) return {kUnknown, "latency was not measured"};
  if (!compare({before, after}, {}).are_latencies_comparable()) {
    return {kUnknown, "latencies were measured under other conditions"};
  }
  return {is.latency->median_ms / was.latency->median_ms - 1,
          fmt::format("medians, {:.3g} ms to {:.3g} ms", was.latency->median_ms,
                      is.latency->median_ms)};
}

void judge(const ComparedRun& before, const ComparedRun& after, const Thresholds& thresholds,
           std::vector<Comparison::Verdict>& verdicts) {
  const auto add = [&](const char* name, const std::optional<double>& bound, const auto& find) {
    if (!bound) return;
    constexpr double kRounding = 1e-9;  // 0.92 - 0.91 is a little above 0.01
    const Loss loss = find();
    const bool is_met = loss.value <= *bound + kRounding;  // false for what is unknown
    verdicts.push_back({after.name, {name, *bound, loss.value, is_met, loss.note}});
  };
  add("max_accuracy_drop", thresholds.max_accuracy_drop,
      [&] { return accuracy_loss(before.final, after.final); });
  add("max_size_growth", thresholds.max_size_growth, [&] {
    return growth(before.final.size.zipped_bytes, after.final.size.zipped_bytes, "zipped bytes",
                  human_bytes);
  });
  add("max_macs_growth", thresholds.max_macs_growth, [&] {
    return growth(before.final.macs.value_or(0), after.final.macs.value_or(0), "MACs", human_count);
  });
  add("max_slowdown", thresholds.max_slowdown, [&] { return slowdown(before, after); });
}

}  // namespace

bool Comparison::are_latencies_comparable() const {
  return std::none_of(differences.begin(), differences.end(),
                      [](const Difference& difference) { return difference.spoils_latency; });
}

bool Comparison::are_thresholds_met() const {
  return std::all_of(verdicts.begin(), verdicts.end(),
                     [](const Verdict& verdict) { return verdict.result.is_met; });
}

Comparison compare(const std::vector<ComparedRun>& runs, const Thresholds& thresholds) {
  Comparison comparison;
  Evaluations originals, finals;
  for (const ComparedRun& run : runs) {
    comparison.runs.push_back(run.name);
    originals.push_back(run.original ? &*run.original : nullptr);
    finals.push_back(&run.final);
  }
  add_environment_differences(runs, comparison);
  add_file_differences(runs, comparison);
  const bool has_original = std::any_of(originals.begin(), originals.end(),
                                        [](const Evaluation* original) { return original; });
  if (has_original) comparison.sections.push_back({"original", {}, figures_of(originals)});
  add_steps(runs, comparison);
  comparison.sections.push_back({"final", {}, figures_of(finals)});
  for (std::size_t i = 1; i < runs.size(); ++i) {
    judge(runs[0], runs[i], thresholds, comparison.verdicts);
  }
  return comparison;
}

std::vector<std::string> describe_regressions(const Comparison& comparison) {
  std::vector<std::string> lines;
  for (const auto& [run, result] : comparison.verdicts) {
    if (result.is_met) continue;
    lines.push_back(std::isnan(result.found)
                        ? fmt::format("{}: {} can't be judged: {}", run, result.gate, result.note)
                        : fmt::format("{}: {} {:.4g} is above {:.4g} ({})", run, result.gate,
                                      result.found, result.bound, result.note));
  }
  return lines;
}

}  // namespace edgecompress
