#include <fmt/format.h>

#include "report/format.h"
#include "report/report.h"
#include "util/text.h"

namespace edgecompress {

std::string to_console(const Report& report) {
  std::string text = summary_table(report).console() + "\n";
  if (!report.gates.empty()) text += gate_table(report.gates).console() + "\n";
  for (const std::string& line : describe_measurement(report)) text += line + "\n";
  for (const StepRecord& step : report.steps) {
    if (!step.cached_since.empty()) {
      text += fmt::format("{}: taken from the cache, done {}\n", step.pass, step.cached_since);
    }
    if (step.state != StepState::kKept) {
      text += fmt::format("{} {}: {}\n", step.pass, to_string(step.state), step.note);
    }
  }
  for (const std::string& note : report.notes) text += "note: " + note + "\n";
  text += fmt::format("{} The run took {}.\n", describe_written_model(report),
                      human_duration(report.seconds));
  return text;
}

}  // namespace edgecompress
