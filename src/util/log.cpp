#include "util/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <nlohmann/json.hpp>

#include "edgecompress/error.h"

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

struct LogFile::Sink {
  std::shared_ptr<spdlog::sinks::sink> sink;
};

LogFile::LogFile(const std::filesystem::path& path) : sink_(std::make_unique<Sink>()) {
  try {
    sink_->sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string(), true);
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(ExitCode::kOutput, path.string() + ": the log can't be written: " + error.what());
  }
  sink_->sink->set_level(spdlog::level::debug);
  sink_->sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  channel().sinks->add_sink(sink_->sink);
}

LogFile::~LogFile() {
  channel().sinks->remove_sink(sink_->sink);
  sink_->sink->flush();
}

}  // namespace edgecompress
