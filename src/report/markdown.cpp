#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "report/format.h"
#include "report/report.h"
#include "util/text.h"

namespace edgecompress {

namespace {

constexpr std::size_t kMostRows = 50;
constexpr std::size_t kMostDrawnRows = 1000;

/// Names and messages come from untrusted files: they must not become markup.
std::string plain(const std::string& text) {
  std::string escaped;
  for (const char letter : text) {
    if (letter == '<') {
      escaped += "&lt;";
    } else if (letter == '\n') {
      escaped += ' ';
    } else {
      if (letter == '`' || letter == '*' || letter == '\\') escaped += '\\';
      escaped += letter;
    }
  }
  return escaped;
}

std::string scalar_text(const Json& value) {
  if (value.is_null()) return kMissing;
  if (value.is_string()) return plain(value.get<std::string>());
  if (value.is_number_float()) return number_text(value.get<double>());
  return plain(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string bullets(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "- " + plain(line) + "\n";
  return text;
}

bool are_rows(const Json& list) {
  return std::all_of(list.begin(), list.end(), [&](const Json& item) {
    if (!item.is_object() || item.empty() || item.size() != list.front().size()) return false;
    return std::all_of(item.items().begin(), item.items().end(),
                       [&](const auto& member) { return list.front().contains(member.key()); });
  });
}

/// A column of rows: a member, or how much of one is left by another.
struct Column {
  std::string title;
  std::string member;
  std::string before = {};  ///< not empty: a bar of `member` as a share of this one
};

bool are_numbers(const Json& list, const std::string& member) {
  return std::all_of(list.begin(), list.end(), [&](const Json& row) {
    return row.contains(member) && row[member].is_number();
  });
}

/// Members that are texts first, which say what a row is about; then the others. But "before" and
/// "after", or "x_before" and "x_after", come last, behind a bar that compares them.
std::vector<Column> columns_of(const Json& list) {
  const std::string before = "before", after = "after";
  std::vector<Column> columns, compared;
  std::set<std::string> taken;
  for (const auto& [member, value] : list.front().items()) {
    if (member.size() < after.size()) continue;
    const std::string stem = member.substr(0, member.size() - after.size());
    const bool is_after = member == stem + after && (stem.empty() || stem.back() == '_');
    if (!is_after || !are_numbers(list, member) || !are_numbers(list, stem + before)) continue;
    compared.push_back({stem.empty() ? "left" : stem + "left", member, stem + before});
    for (const std::string& name : {stem + before, member}) {
      compared.push_back({name, name});
      taken.insert(name);
    }
  }
  for (const auto& [member, value] : list.front().items()) {
    if (taken.count(member) == 0) columns.push_back({member, member});
  }
  std::stable_partition(columns.begin(), columns.end(), [&](const Column& column) {
    return list.front()[column.member].is_string();
  });
  columns.insert(columns.end(), compared.begin(), compared.end());
  return columns;
}

std::string bar_text(double after, double before) {
  constexpr long kCells = 16;
  const double share = after / before;
  long filled = share > 0 ? std::lround(kCells * std::min(share, 1.0)) : 0;
  // What is not all, and what is not nothing, must not look like it.
  if (after < before) filled = std::min(filled, kCells - 1);
  if (after > 0) filled = std::max(filled, 1L);
  std::string bar;
  for (long cell = 0; cell < kCells; ++cell) bar += cell < filled ? "█" : "░";
  return bar;
}

std::string cell_text(const Json& row, const Column& column) {
  const Json& value = row[column.member];
  if (!column.before.empty()) {
    return bar_text(value.get<double>(), row[column.before].get<double>());
  }
  if (!value.is_array()) return scalar_text(value);
  std::vector<std::string> items;
  for (const Json& item : value) items.push_back(scalar_text(item));
  return join(items, ", ");
}

std::string table_text(const Json& list, const std::vector<Column>& columns, std::size_t most) {
  std::vector<std::string> header;
  for (const Column& column : columns) header.push_back(plain(column.title));
  Table table(header);
  for (std::size_t i = 0; i < std::min(list.size(), most); ++i) {
    std::vector<std::string> cells;
    for (const Column& column : columns) cells.push_back(cell_text(list[i], column));
    table.add_row(std::move(cells));
  }
  std::string text = table.markdown();
  if (list.size() > most)
    text += fmt::format("\n... and {} more in the JSON report.\n", list.size() - most);
  return text;
}

/// Rows of "before" and "after" are drawn whole, since they are looked at together: long ones are
/// folded away under their sum.
std::string rows_text(const std::string& name, const Json& list) {
  const std::vector<Column> columns = columns_of(list);
  const bool has_widths = std::any_of(columns.begin(), columns.end(), [](const Column& column) {
    return column.before == "before";
  });
  if (!has_widths)
    return fmt::format("\n{}:\n\n{}", plain(name), table_text(list, columns, kMostRows));
  double before = 0, after = 0;
  for (const Json& row : list) {
    before += row["before"].get<double>();
    after += row["after"].get<double>();
  }
  const std::string title = fmt::format("{}: {} of {} left in {} rows", plain(name),
                                        number_text(after), number_text(before), list.size());
  const std::string table = table_text(list, columns, kMostDrawnRows);
  return list.size() > kMostRows
             ? fmt::format("\n<details>\n<summary>{}</summary>\n\n{}\n</details>\n", title, table)
             : fmt::format("\n{}:\n\n{}", title, table);
}

bool is_sentence(const Json& item) {
  return item.is_string() && item.get_ref<const std::string&>().find(' ') != std::string::npos;
}

/// Measurements one after the other: losses by epoch.
bool is_series(const Json& list) {
  constexpr std::size_t kFewest = 3;
  return list.size() >= kFewest && std::all_of(list.begin(), list.end(), [](const Json& item) {
           return item.is_number_float() && std::isfinite(item.get<double>());
         });
}

/// The series drawn in a line: "▇▅▂▁". A long one's neighbours are averaged.
std::string curve_text(const Json& series) {
  static const char* const kLevels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr std::size_t kMostCells = 60;
  const std::size_t cells = std::min(series.size(), kMostCells);
  std::vector<double> means;
  for (std::size_t cell = 0; cell < cells; ++cell) {
    const std::size_t first = cell * series.size() / cells;
    const std::size_t last = (cell + 1) * series.size() / cells;
    double sum = 0;
    for (std::size_t i = first; i < last; ++i) sum += series[i].get<double>();
    means.push_back(sum / static_cast<double>(last - first));
  }
  const auto [low, high] = std::minmax_element(means.begin(), means.end());
  const double range = *high - *low;
  std::string curve;
  for (const double mean : means) {
    curve += kLevels[range > 0 ? std::lround((mean - *low) / range * 7) : 0];
  }
  return curve;
}

/// A finding of a pass, by its shape: a table, a list, or a value.
std::string finding_text(const std::string& name, const Json& value) {
  if (!value.is_array()) return fmt::format("\n{}: {}\n", plain(name), scalar_text(value));
  if (!value.empty() && are_rows(value)) return rows_text(name, value);
  std::vector<std::string> items;
  for (std::size_t i = 0; i < std::min(value.size(), kMostRows); ++i)
    items.push_back(scalar_text(value[i]));
  if (value.size() > kMostRows) items.emplace_back("...");
  const bool has_sentences = std::any_of(value.begin(), value.end(), is_sentence);
  if (has_sentences) return fmt::format("\n{}:\n\n- {}\n", plain(name), join(items, "\n- "));
  const std::string curve = is_series(value) ? curve_text(value) + " " : "";
  return fmt::format("\n{}: {}{}\n", plain(name), curve,
                     items.empty() ? "none" : join(items, ", "));
}

std::string evaluation_text(const Evaluation& evaluation) {
  std::vector<std::string> lines;
  for (const auto& score : {evaluation.validation, evaluation.test}) {
    if (score) {
      lines.push_back(
          fmt::format("{} on {}: {}", score->metric, score->data, score_with_counts(*score)));
    }
  }
  if (evaluation.fidelity) {
    lines.push_back(fmt::format("fidelity on {}: {}, mean cosine {:.6f}", evaluation.fidelity->data,
                                fidelity_text(*evaluation.fidelity), evaluation.fidelity->cosine));
  }
  const Size& size = evaluation.size;
  if (size.file_bytes > 0) {
    lines.push_back(
        fmt::format("size: {} bytes, {} zipped; {} parameters, {} of them not zero, "
                    "in {} bytes",
                    size.file_bytes, size.zipped_bytes, size.parameters, size.nonzero_parameters,
                    size.weight_bytes));
  }
  if (evaluation.latency) {
    const Latency& latency = *evaluation.latency;
    lines.push_back(fmt::format("latency: {} (10th percentile {}, 90th {}), run as: {}",
                                milliseconds_text(latency.median_ms),
                                milliseconds_text(latency.p10_ms),
                                milliseconds_text(latency.p90_ms), latency.form));
  }
  if (evaluation.macs) {
    lines.push_back("multiply-accumulates of one example: " + human_count(*evaluation.macs));
  }
  if (evaluation.peak_memory_bytes > 0) {
    lines.push_back("peak memory, loading and one pass: " +
                    human_bytes(evaluation.peak_memory_bytes));
  }
  return bullets(lines);
}

std::string step_text(const StepRecord& step, std::size_t number) {
  std::string text = fmt::format("\n### {} {}: {}\n\n", number, step.pass, to_string(step.state));
  if (!step.note.empty()) text += plain(step.note) + "\n\n";
  text += fmt::format("Options: `{}`\n\n",
                      step.options.dump(-1, ' ', false, Json::error_handler_t::replace));
  std::vector<std::string> lines;
  for (const auto& [name, count] : step.counts) {
    lines.push_back(fmt::format("{}: {}", name, number_text(count)));
  }
  lines.push_back("time: " + human_duration(step.seconds));
  if (!step.cached_since.empty()) {
    lines.push_back("done by an earlier run, until " + step.cached_since +
                    ": time and memory are of that run");
  }
  if (step.peak_memory_bytes > 0) {
    lines.push_back("peak memory of the step: " + human_bytes(step.peak_memory_bytes));
  }
  text += bullets(lines);
  if (step.evaluation) text += evaluation_text(*step.evaluation);
  if (step.forecast && step.evaluation) text += "\n" + forecast_table(step).markdown();
  for (const auto& [name, value] : step.details.items()) text += finding_text(name, value);
  if (!step.gates.empty()) text += "\n" + gate_table(step.gates).markdown();
  return text;
}

std::string measured_text(const Report& report) {
  const Environment& machine = report.environment;
  std::vector<std::string> lines = describe_measurement(report);
  lines.push_back(fmt::format("machine: {}, {} cores, {} threads for the run, {}", machine.cpu,
                              machine.cores, machine.threads, machine.operating_system));
  lines.push_back(fmt::format("edgecompress {}, LibTorch {}, quantized engine {}, BLAS {} ({})",
                              machine.edgecompress_version, machine.libtorch_version,
                              machine.quantized_engine, machine.blas,
                              machine.blas_core.empty() ? kMissing : machine.blas_core));
  lines.push_back(fmt::format("seed {}, started {}, took {}", report.seed, report.started,
                              human_duration(report.seconds)));
  for (const auto& [name, hash] : report.sha256) {
    lines.push_back(fmt::format("SHA-256 of {}: {}", name, hash));
  }
  return bullets(lines);
}

}  // namespace

std::string to_markdown(const Report& report) {
  std::string text =
      fmt::format("# {}\n\n{}\n{}\n", report.name.empty() ? "Compression run" : plain(report.name),
                  summary_table(report).markdown(), plain(describe_written_model(report)));
  if (!report.notes.empty()) text += "\n" + bullets(report.notes);
  if (!report.gates.empty()) text += "\n## Gates\n\n" + gate_table(report.gates).markdown();
  text += "\n## Original\n\n" + evaluation_text(report.baseline);
  text += "\n## Steps\n";
  for (std::size_t i = 0; i < report.steps.size(); ++i) text += step_text(report.steps[i], i + 1);
  text += "\n## How it was measured\n\n" + measured_text(report);
  if (!report.not_canonical.empty()) {
    text +=
        "\n## What was left as it is\n\nParts of the model that the canonical form does not "
        "reach:\n\n" +
        bullets(report.not_canonical);
  }
  return text;
}

}  // namespace edgecompress
