#include "util/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cerrno>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "util/file.h"

namespace edgecompress {

namespace {

struct Channel {
  // Sinks come and go while other threads log, which spdlog::logger alone doesn't allow.
  std::shared_ptr<spdlog::sinks::dist_sink_mt> sinks =
      std::make_shared<spdlog::sinks::dist_sink_mt>();
  spdlog::logger logger{"edgecompress", sinks};

  Channel() {
    logger.set_level(spdlog::level::debug);
    logger.flush_on(spdlog::level::warn);
    // A full disk must not make the log itself print; whoever writes results reports it.
    logger.set_error_handler([](const std::string&) {});
  }
};

Channel& channel() {
  static Channel the_channel;
  return the_channel;
}

class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto view_to_string = [](spdlog::string_view_t view) {
      return std::string(view.data(), view.size());
    };
    spdlog::memory_buf_t time;
    time_.format(message, time);
    const nlohmann::ordered_json line = {
        {"time", std::string(time.data(), time.size())},
        {"level", view_to_string(spdlog::level::to_string_view(message.level))},
        {"message", view_to_string(message.payload)}};
    const std::string text =
        line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }

 private:
  spdlog::pattern_formatter time_{"%Y-%m-%dT%H:%M:%S.%eZ", spdlog::pattern_time_type::utc, ""};
};

spdlog::level::level_enum spdlog_level(LogOptions::Level level) {
  switch (level) {
    case LogOptions::Level::kQuiet:
      return spdlog::level::warn;
    case LogOptions::Level::kNormal:
      return spdlog::level::info;
    case LogOptions::Level::kVerbose:
      return spdlog::level::debug;
  }
  return spdlog::level::info;
}

}  // namespace

spdlog::logger& log() { return channel().logger; }

void log_to_stderr(const LogOptions& options) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  sink->set_level(spdlog_level(options.level));
  if (options.is_json) {
    sink->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    sink->set_pattern("%l: %v");
  }
  channel().sinks->set_sinks({sink});
}

/// Remembers that a line was lost, which spdlog's own file sink does not.
class LogFile::Sink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit Sink(const std::filesystem::path& path) {
    check(file_.open(path, std::ios::out) != nullptr);
  }

  /// 0, or why the file does not hold every line.
  int error() const { return error_; }
  void close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    check(file_.close() != nullptr);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const auto size = static_cast<std::streamsize>(line.size());
    check(file_.sputn(line.data(), size) == size);
  }
  void flush_() override { check(file_.pubsync() == 0); }

 private:
  void check(bool is_done) {
    if (!is_done && error_ == 0) error_ = errno != 0 ? errno : EIO;
  }

  std::filebuf file_;
  int error_ = 0;
};

LogFile::LogFile(const std::filesystem::path& path)
    : path_(path), sink_(std::make_shared<Sink>(path)) {
  check();
  sink_->set_level(spdlog::level::debug);
  sink_->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  channel().sinks->add_sink(sink_);
}

LogFile::~LogFile() { channel().sinks->remove_sink(sink_); }

void LogFile::close() {
  channel().sinks->remove_sink(sink_);
  sink_->close();
  check();
}

void LogFile::check() const {
  if (sink_->error() != 0) throw write_error(path_, sink_->error());
}

}  // namespace edgecompress
