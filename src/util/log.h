// The log. Library code writes to the logger "edgecompress", which says nothing until somebody (the
// command line, a test) gives it somewhere to write.
#pragma once

#include <filesystem>
#include <memory>

namespace spdlog {
class logger;
}

namespace edgecompress {

spdlog::logger& log();

struct LogOptions {
  enum class Level { kQuiet, kNormal, kVerbose } level = Level::kNormal;
  bool is_json = false;  ///< one JSON object a line
};
/// Log to stderr.
void log_to_stderr(const LogOptions& options);

/// While it lives, the log is also written to a file (run.log). Throws Error(kOutput).
class LogFile {
 public:
  explicit LogFile(const std::filesystem::path& path);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  /// Ends the file. Throws Error(kOutput) if any line of it could not be written: until then a full
  /// disk costs lines, not the work.
  void close();

 private:
  class Sink;
  void check() const;

  std::filesystem::path path_;
  std::shared_ptr<Sink> sink_;
};

}  // namespace edgecompress
