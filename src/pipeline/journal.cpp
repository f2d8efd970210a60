#include "pipeline/journal.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <limits>
#include <memory>

#include "pipeline/fingerprint.h"
#include "util/file.h"
#include "util/log.h"
#include "util/progress.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

using Clock = std::chrono::steady_clock;

constexpr const char* kFolder = ".journal";
constexpr std::chrono::seconds kInterval{2};

/// The output folder, where nothing else is in it. One that is a link is the user's own.
void remove_if_empty(const fs::path& folder) {
  std::error_code stays;
  if (!fs::is_symlink(folder, stays)) fs::remove(folder, stays);
}

}  // namespace

Journal::Journal(fs::path output, bool resume)
    : folder_(std::move(output) / kFolder), resume_(resume) {}

Journal::~Journal() {
  if (interrupt_requested()) return;
  std::error_code not_empty;
  if (fs::remove(folder_, not_empty)) remove_if_empty(folder_.parent_path());
}

void Journal::begin() const {
  std::error_code error;
  // A link would lead what is written to somebody else's folder.
  if (fs::is_symlink(folder_, error)) fs::remove(folder_, error);
  fs::create_directories(folder_, error);
  if (error) throw write_error(folder_, error.value());
}

bool Journal::is_in(const fs::path& output) {
  std::error_code none;
  return fs::is_directory(fs::symlink_status(output / kFolder, none));
}

fs::path Journal::file_of(const std::string& step) const {
  return folder_ / (step + ".checkpoint");
}

Checkpoint Journal::checkpoint(const std::string& step, const Json& fingerprint) const {
  Checkpoint checkpoint;
  checkpoint.load = [this, step, fingerprint] { return load(step, fingerprint); };
  // An epoch may take milliseconds, and making a file durable many more: a state that is a moment
  // old is as good, but for the last one of a run that is interrupted.
  const auto saved = std::make_shared<std::optional<Clock::time_point>>();
  checkpoint.save = [this, step, fingerprint, saved](const std::string& bytes) {
    const bool is_recent = *saved && Clock::now() - **saved < kInterval;
    if (is_recent && !interrupt_requested()) return;
    save(step, fingerprint, bytes);
    *saved = Clock::now();
  };
  return checkpoint;
}

void Journal::move_into(const fs::path& folder) const {
  std::error_code stays;  // where it can't be moved it is no worse
  fs::rename(folder_, folder / kFolder, stays);
  remove_if_empty(folder_.parent_path());
}

void Journal::clear() const {
  std::error_code ignored;
  if (fs::remove_all(folder_, ignored) == 0) return;
  remove_if_empty(folder_.parent_path());
}

/// One line of JSON, then the state as it is.
void Journal::save(const std::string& step, const Json& fingerprint,
                   const std::string& bytes) const {
  begin();
  const Json header = {{"fingerprint", fingerprint}, {"bytes", bytes.size()}};
  write_file_atomic(file_of(step), [&](const ByteSink& write) {
    write(header.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n");
    write(bytes);
  });
}

std::optional<std::string> Journal::load(const std::string& step, const Json& fingerprint) const {
  std::error_code none;
  if (!resume_ || !fs::exists(file_of(step), none)) return std::nullopt;
  std::string bytes =
      read_file(file_of(step), ExitCode::kOutput, std::numeric_limits<std::int64_t>::max());
  const std::size_t end = bytes.find('\n');
  const Json header = Json::parse(bytes.substr(0, end), nullptr, /*allow_exceptions=*/false);
  const bool is_whole = end != std::string::npos && header.is_object() &&
                        header.contains("fingerprint") &&
                        header.value("bytes", std::size_t{0}) == bytes.size() - end - 1;
  if (!is_whole) {
    log().warn("step {}: its checkpoint is damaged, so it starts from its beginning", step);
    return std::nullopt;
  }
  if (header["fingerprint"] != fingerprint) {
    log().warn("step {}: its checkpoint is of another run, so it starts from its beginning: {}",
               step, describe_differences(header["fingerprint"], fingerprint));
    return std::nullopt;
  }
  log().info("step {}: goes on from its checkpoint", step);
  bytes.erase(0, end + 1);
  return bytes;
}

}  // namespace edgecompress
