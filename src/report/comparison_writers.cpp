// A comparison as text, for a terminal and for a pull request, and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/comparison.h"
#include "report/comparison_text.h"
#include "report/format.h"
#include "util/text.h"

namespace edgecompress {

namespace {

std::string value_text(Figure::Unit unit, const std::optional<double>& value) {
  using Unit = Figure::Unit;
  if (!value) return kMissing;
  switch (unit) {
    case Unit::kShare:
      return fmt::format("{:.2f} %", *value * 100);
    case Unit::kBytes:
      return human_bytes(static_cast<std::int64_t>(*value));
    case Unit::kCount:
      return human_count(static_cast<std::int64_t>(*value));
    case Unit::kMilliseconds:
      return milliseconds_text(*value);
    case Unit::kRatio:
      return fmt::format("{:.2f}x", *value);
    case Unit::kDecibel:
      return fmt::format("{:.1f} dB", *value);
    case Unit::kPlain:
      break;
  }
  return number_text(*value);
}

std::string change_text(const Figure& figure, std::size_t run) {
  using Unit = Figure::Unit;
  const auto& change = figure.changes[run];
  if (!change) return kMissing;
  if (figure.unit == Unit::kShare) return fmt::format("{:+.2f} points", *change * 100);
  if (figure.unit == Unit::kDecibel) return fmt::format("{:+.1f} dB", *change);
  if (figure.unit == Unit::kPlain) return fmt::format("{:+.4g}", *change);
  return fmt::format("{:+.1f} %", (*change - 1) * 100);
}

/// "91.2 % > 90.8 %"; of one value where all are alike.
std::string course(const std::vector<std::string>& values) {
  const bool are_alike =
      std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
  return are_alike ? values.front() : join(values, " > ");
}

/// Every figure of a section: each run's value, and behind it what changed.
Table figure_table(const Comparison& comparison, const Comparison::Section& section) {
  std::vector<std::string> header = {section.name};
  for (std::size_t i = 0; i < comparison.runs.size(); ++i) {
    header.push_back(comparison.runs[i]);
    if (i > 0) header.push_back("change");
  }
  std::vector<Table::Align> align(header.size(), Table::Align::kRight);
  align[0] = Table::Align::kLeft;
  Table table(header, align);
  for (const Figure& figure : section.figures) {
    std::vector<std::string> cells = {figure.name};
    for (std::size_t i = 0; i < figure.values.size(); ++i) {
      cells.push_back(value_text(figure.unit, figure.values[i]));
      if (i > 0) cells.push_back(change_text(figure, i));
    }
    table.add_row(std::move(cells));
  }
  return table;
}

/// One row for the original and each step, run after run in each cell.
Table step_table(const Comparison& comparison) {
  const auto& sections = comparison.sections;
  std::vector<std::string> columns;  // of figures, in the order of the final model's
  for (const Figure& figure : sections.back().figures) {
    if (figure.name != "file" && figure.name != "memory") columns.push_back(figure.name);
  }
  std::vector<std::string> header = {"step", "state"};
  header.insert(header.end(), columns.begin(), columns.end());
  Table table(header);
  for (const auto& section : sections) {
    if (&section == &sections.back()) break;
    std::vector<std::string> cells = {section.name, states_text(section.states)};
    for (const std::string& column : columns) cells.push_back(figure_text(section, column));
    table.add_row(std::move(cells));
  }
  return table;
}

Table difference_table(const Comparison& comparison) {
  std::vector<std::string> header = {"what differs"};
  header.insert(header.end(), comparison.runs.begin(), comparison.runs.end());
  Table table(header);
  for (const auto& difference : comparison.differences) {
    std::vector<std::string> cells = {difference.what};
    for (const std::string& value : difference.values) {
      cells.push_back(value.empty() ? kMissing : value);
    }
    table.add_row(std::move(cells));
  }
  return table;
}

Table verdict_table(const Comparison& comparison) {
  Table table({"run", "threshold", "bound", "found", "met", "note"});
  for (const auto& [run, result] : comparison.verdicts) {
    table.add_row({run, result.gate, number_text(result.bound), number_text(result.found),
                   result.is_met ? "yes" : "NO", result.note});
  }
  return table;
}

bool has_latency(const Comparison& comparison) {
  const auto& figures = comparison.sections.back().figures;
  return std::any_of(figures.begin(), figures.end(),
                     [](const Figure& figure) { return figure.name == "latency"; });
}

Json list_of(const std::vector<std::optional<double>>& values) {
  Json list = Json::array();
  for (const auto& value : values) list.push_back(value ? Json(*value) : Json());
  return list;
}

Json section_json(const Comparison::Section& section) {
  Json figures = Json::array();
  for (const Figure& figure : section.figures) {
    figures.push_back({{"name", figure.name},
                       {"values", list_of(figure.values)},
                       {"changes", list_of(figure.changes)}});
  }
  return {{"name", section.name}, {"states", section.states}, {"figures", std::move(figures)}};
}

}  // namespace

std::string states_text(const std::vector<std::string>& states) {
  if (states.empty()) return kMissing;
  std::vector<std::string> texts = states;
  std::replace(texts.begin(), texts.end(), std::string(), std::string(kMissing));
  return course(texts);
}

std::string figure_text(const Comparison::Section& section, const std::string& name) {
  const auto figure = std::find_if(section.figures.begin(), section.figures.end(),
                                   [&](const Figure& candidate) { return candidate.name == name; });
  if (figure == section.figures.end()) return kMissing;
  std::vector<std::string> values;
  for (const auto& value : figure->values) values.push_back(value_text(figure->unit, value));
  return course(values);
}

std::string regression_list(const std::vector<std::string>& regressions) {
  if (regressions.empty()) return "**No regressions.**\n\n";
  std::string text = "**Regressions:**\n\n";
  for (const std::string& line : regressions) text += "- " + line + "\n";
  return text + "\n";
}

Json to_json(const Comparison& comparison) {
  Json sections = Json::array(), differences = Json::array(), verdicts = Json::array();
  for (const auto& section : comparison.sections) sections.push_back(section_json(section));
  for (const auto& difference : comparison.differences) {
    differences.push_back({{"what", difference.what},
                           {"values", difference.values},
                           {"spoils_latency", difference.spoils_latency}});
  }
  for (const auto& [run, result] : comparison.verdicts) {
    verdicts.push_back({{"run", run},
                        {"threshold", result.gate},
                        {"bound", result.bound},
                        {"found", result.found},
                        {"is_met", result.is_met},
                        {"note", result.note}});
  }
  return {{"schema_version", 1},
          {"runs", comparison.runs},
          {"sections", std::move(sections)},
          {"differences", std::move(differences)},
          {"are_latencies_comparable", comparison.are_latencies_comparable()},
          {"thresholds", std::move(verdicts)},
          {"are_thresholds_met", comparison.are_thresholds_met()}};
}

std::string to_console(const Comparison& comparison) {
  std::string text = figure_table(comparison, comparison.sections.back()).console() + "\n";
  if (comparison.sections.size() > 1) text += step_table(comparison).console() + "\n";
  if (!comparison.differences.empty()) text += difference_table(comparison).console() + "\n";
  if (has_latency(comparison) && !comparison.are_latencies_comparable()) {
    text += wrapped(kSpoiledLatencies, 100, "") + "\n";
  }
  if (!comparison.verdicts.empty()) text += verdict_table(comparison).console();
  for (const std::string& line : describe_regressions(comparison)) {
    text += "regression: " + line + "\n";
  }
  return text;
}

std::string to_markdown(const Comparison& comparison) {
  std::string text;
  if (!comparison.verdicts.empty()) text += regression_list(describe_regressions(comparison));
  text += figure_table(comparison, comparison.sections.back()).markdown();
  if (has_latency(comparison) && !comparison.are_latencies_comparable()) {
    text += fmt::format("\n{}\n", kSpoiledLatencies);
  }
  const auto add_folded = [&](const char* title, const Table& table) {
    text += fmt::format("\n<details><summary>{}</summary>\n\n{}\n</details>\n", title,
                        table.markdown());
  };
  if (!comparison.verdicts.empty()) add_folded("Thresholds", verdict_table(comparison));
  if (comparison.sections.size() > 1) add_folded("Steps", step_table(comparison));
  if (!comparison.differences.empty()) add_folded("What differs", difference_table(comparison));
  return text;
}

}  // namespace edgecompress
