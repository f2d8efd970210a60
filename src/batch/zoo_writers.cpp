// The zoo as tables: CSV for spreadsheets, Markdown and console text for people, JUnit for CI.
#include <fmt/format.h>

#include <algorithm>

#include "batch/zoo.h"
#include "report/format.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {

namespace {

/// A field of a CSV file: in quotes where it holds what would end it.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char letter : text) {
    if (letter == '"') quoted += '"';
    quoted += letter;
  }
  return quoted + "\"";
}

template <class Number>
std::string csv_number(const std::optional<Number>& number) {
  return number ? fmt::format("{}", *number) : "";
}

/// Text in an attribute or element. XML 1.0 has no way to write most control characters.
std::string xml_text(const std::string& text) {
  std::string escaped;
  for (const char letter : text) {
    switch (letter) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += static_cast<unsigned char>(letter) < 0x20 || letter == 0x7F ? ' ' : letter;
    }
  }
  return escaped;
}

bool is_share(const std::string& metric) {
  return metric == "top1" || metric == "top5" || metric == "f1" || metric == "fidelity_top1";
}

std::string accuracy_text(const std::string& metric, std::optional<double> value) {
  if (!value) return kMissing;
  if (is_share(metric)) return fmt::format("{:.1f} %", *value * 100);
  return metric == "fidelity_sqnr_db" ? fmt::format("{:.1f} dB", *value) : number_text(*value);
}

std::string before_and_after(const std::string& before, const std::string& after) {
  if (before == kMissing || before == after) return after;
  return after == kMissing ? kMissing : before + " to " + after;
}

std::string accuracy_cell(const ModelFigures& figures) {
  const std::string values =
      before_and_after(accuracy_text(figures.metric, figures.accuracy_before),
                       accuracy_text(figures.metric, figures.accuracy_after));
  return values == kMissing ? values : figures.metric + " " + values;
}

std::string size_cell(const ModelFigures& figures) {
  if (!figures.bytes_after) return kMissing;
  return fmt::format("{} ({})", human_bytes(*figures.bytes_after),
                     ratio_text(*figures.bytes_after, figures.bytes_before.value_or(0)));
}

std::string latency_cell(const ModelFigures& figures) {
  if (!figures.latency_after_ms) return kMissing;
  const std::string speedup = figures.speedup ? fmt::format(" ({:.2f}x)", *figures.speedup) : "";
  return milliseconds_text(*figures.latency_after_ms) + speedup;
}

/// `limit` 0: reasons in full.
Table zoo_table(const Zoo& zoo, std::size_t limit) {
  using Align = Table::Align;
  Table table({"model", "state", "accuracy", "size", "latency (speed-up)", "time", "reason"},
              {Align::kLeft, Align::kLeft, Align::kRight, Align::kRight, Align::kRight,
               Align::kRight, Align::kLeft});
  for (const ZooRow& row : zoo.rows) {
    const bool is_cut = limit > 0 && row.reason.size() > limit;
    table.add_row({row.name, to_string(row.state), accuracy_cell(row.figures),
                   size_cell(row.figures), latency_cell(row.figures),
                   row.seconds > 0 ? human_duration(row.seconds) : kMissing,
                   is_cut ? row.reason.substr(0, limit) + "..." : row.reason});
  }
  return table;
}

std::string junit_case(const ZooRow& row) {
  const std::string head =
      fmt::format("    <testcase classname=\"edgecompress\" name=\"{}\" time=\"{:.3f}\"",
                  xml_text(row.name), row.seconds);
  if (row.state == ModelState::kDone) return head + "/>\n";
  const bool is_skipped = row.state == ModelState::kPending;
  const char* kind = is_skipped                             ? "skipped"
                     : row.state == ModelState::kGateMissed ? "failure"
                                                            : "error";
  const std::string type =
      is_skipped ? "" : fmt::format(" type=\"{}\"", xml_text(to_string(row.state)));
  return fmt::format("{}>\n      <{} message=\"{}\"{}/>\n    </testcase>\n", head, kind,
                     xml_text(row.reason), type);
}

}  // namespace

std::string to_csv(const Zoo& zoo) {
  std::string text =
      "name,model,state,reason,exit_code,signal,metric,accuracy_before,accuracy_after,bytes_before,"
      "bytes_after,latency_before_ms,latency_after_ms,speedup,seconds,cpu_seconds,"
      "peak_memory_bytes\r\n";
  for (const ZooRow& row : zoo.rows) {
    const ModelFigures& figures = row.figures;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n",
                        csv_field(row.name), csv_field(row.model), to_string(row.state),
                        csv_field(row.reason), csv_number(row.exit_code), csv_number(row.signal),
                        csv_field(figures.metric), csv_number(figures.accuracy_before),
                        csv_number(figures.accuracy_after), csv_number(figures.bytes_before),
                        csv_number(figures.bytes_after), csv_number(figures.latency_before_ms),
                        csv_number(figures.latency_after_ms), csv_number(figures.speedup),
                        row.seconds, row.cpu_seconds, row.peak_memory_bytes);
  }
  return text;
}

std::string to_markdown(const Zoo& zoo) {
  return fmt::format("# {}\n\n{} models: {}. Started {}, took {}; {} at once, {} each.\n\n{}",
                     zoo.recipe.empty() ? "Batch" : zoo.recipe, zoo.rows.size(),
                     describe_states(zoo), zoo.started, human_duration(zoo.seconds), zoo.jobs,
                     zoo.threads == 1 ? "1 thread" : fmt::format("{} threads", zoo.threads),
                     zoo_table(zoo, 0).markdown());
}

std::string to_console(const Zoo& zoo) {
  return fmt::format("{}\n{} models: {}; {}\n", zoo_table(zoo, 100).console(), zoo.rows.size(),
                     describe_states(zoo), human_duration(zoo.seconds));
}

std::string to_junit(const Zoo& zoo) {
  const auto count = [&zoo](const auto& is_so) {
    return std::count_if(zoo.rows.begin(), zoo.rows.end(),
                         [&](const ZooRow& row) { return is_so(row.state); });
  };
  const auto failures = count([](ModelState state) { return state == ModelState::kGateMissed; });
  const auto skipped = count([](ModelState state) { return state == ModelState::kPending; });
  const auto done = count([](ModelState state) { return state == ModelState::kDone; });
  const auto tests = static_cast<std::ptrdiff_t>(zoo.rows.size());
  std::string text = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
      "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" "
      "time=\"{:.3f}\" timestamp=\"{}\">\n",
      xml_text(zoo.recipe.empty() ? "edgecompress batch" : zoo.recipe), tests, failures,
      tests - failures - skipped - done, skipped, zoo.seconds, xml_text(zoo.started));
  for (const ZooRow& row : zoo.rows) text += junit_case(row);
  return text + "  </testsuite>\n</testsuites>\n";
}

std::string describe(const ZooRow& row) {
  std::vector<std::string> parts = {to_string(row.state)};
  if (!row.reason.empty()) parts[0] += ": " + row.reason;
  for (const std::string& cell :
       {accuracy_cell(row.figures), size_cell(row.figures), latency_cell(row.figures)}) {
    if (cell != kMissing) parts.push_back(cell);
  }
  if (row.seconds > 0) parts.push_back(human_duration(row.seconds));
  return row.name + ": " + join(parts, ", ");
}

}  // namespace edgecompress
