#include "batch/verdict.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>

#include "util/file.h"
#include "util/text.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestRunReport = std::int64_t{256} << 20;

/// Null where there is none that can be read.
Json read_report(const fs::path& folder) {
  std::error_code none;
  if (!fs::exists(folder / "report.json", none)) return {};
  try {
    return Json::parse(read_file(folder / "report.json", ExitCode::kOutput, kLargestRunReport));
  } catch (const std::exception&) {
    return {};
  }
}

std::string with_last_line(const std::string& what, const ChildEnd& end) {
  return end.last_line.empty() ? what : fmt::format("{}; it last said: {}", what, end.last_line);
}

bool is_about_memory(const std::string& error) {
  for (const char* sign : {"out of memory", "can't allocate memory", "bad_alloc"}) {
    if (error.find(sign) != std::string::npos) return true;
  }
  return false;
}

void judge_exit(const ChildEnd& end, const ChildLimits& limits, const Json& report, ZooRow& row) {
  const auto code = static_cast<ExitCode>(*end.exit_code);
  row.reason = end.last_error.empty()
                   ? with_last_line(fmt::format("it ended with exit code {}", *end.exit_code), end)
                   : end.last_error;
  if (code == ExitCode::kDone) {
    row.state = ModelState::kDone;
    row.reason.clear();
  } else if (code == ExitCode::kGate) {
    row.state = ModelState::kGateMissed;
    const std::string missed = missed_gates_of(report);
    if (!missed.empty()) row.reason = missed;
  } else if (code == ExitCode::kInterrupted) {
    row.state = ModelState::kInterrupted;
  } else if (is_about_memory(end.last_error)) {
    row.state = ModelState::kOutOfMemory;
    if (limits.memory_bytes > 0) {
      row.reason += fmt::format(" (--memory {})", human_bytes(limits.memory_bytes));
    }
  } else {
    row.state = code == ExitCode::kModel ? ModelState::kBadModel : ModelState::kFailed;
  }
}

void judge_signal(const ChildEnd& end, ZooRow& row) {
  row.state = ModelState::kCrashed;
  std::string what = fmt::format("ended by signal {} ({})", *end.signal, ::strsignal(*end.signal));
  if (*end.signal == SIGKILL)
    what += ", which the batch did not send: perhaps the kernel, for memory";
  row.reason = with_last_line(what, end);
}

}  // namespace

void judge_end(const ChildEnd& end, const ChildLimits& limits, const fs::path& folder,
               ZooRow& row) {
  using Cause = ChildEnd::Cause;
  row.exit_code = end.exit_code;
  row.signal = end.signal;
  row.seconds = end.seconds;
  row.cpu_seconds = end.cpu_seconds;
  row.peak_memory_bytes = end.peak_memory_bytes;
  const Json report = read_report(folder);
  row.figures = figures_of(report);
  const Json::json_pointer hash("/sha256/model");
  if (report.contains(hash) && report.at(hash).is_string()) {
    row.model_sha256 = report.at(hash).get<std::string>();
  }

  // One that came to its end while it was being stopped has its result all the same.
  const bool is_finished = end.exit_code == static_cast<int>(ExitCode::kDone) ||
                           end.exit_code == static_cast<int>(ExitCode::kGate);
  const Cause cause = is_finished ? Cause::kExited : end.cause;
  switch (cause) {
    case Cause::kExited:
      return judge_exit(end, limits, report, row);
    case Cause::kSignalled:
      return judge_signal(end, row);
    case Cause::kTime:
      row.state = ModelState::kTimedOut;
      row.reason = with_last_line(
          fmt::format("not done after {} (--time-limit)", human_duration(limits.seconds)), end);
      return;
    case Cause::kCpuTime:
      row.state = ModelState::kTimedOut;
      row.reason =
          with_last_line(fmt::format("not done after {} of CPU time (--cpu-limit)",
                                     human_duration(static_cast<double>(limits.cpu_seconds))),
                         end);
      return;
    case Cause::kMemory:
      row.state = ModelState::kOutOfMemory;
      row.reason = with_last_line(fmt::format("it took more than {} of memory (--memory)",
                                              human_bytes(limits.memory_bytes)),
                                  end);
      return;
    case Cause::kInterrupted:
      row.state = ModelState::kInterrupted;
      row.reason = "told to stop with the whole batch";
      return;
  }
}

}  // namespace edgecompress
