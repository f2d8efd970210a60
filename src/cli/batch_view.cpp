#include "cli/batch_view.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>

#include "cli/terminal.h"
#include "util/log.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::chrono::milliseconds kDrawInterval{200};

/// At most `width` characters, and nothing that steers a terminal: names and lines come from
/// others.
std::string safe_line(const std::string& text, std::size_t width) {
  std::string line;
  std::size_t characters = 0;
  for (const char letter : text) {
    const bool is_first_byte = (letter & 0xC0) != 0x80;
    if (is_first_byte && characters++ == width) break;
    const auto byte = static_cast<unsigned char>(letter);
    line += byte < 0x20 || byte == 0x7F ? ' ' : letter;
  }
  return line;
}

}  // namespace

std::vector<std::string> live_table(const std::vector<RunningModel>& models, std::size_t ended,
                                    std::size_t all, std::size_t width) {
  std::vector<std::string> lines = {
      safe_line(fmt::format("{} of {} models, {} running", ended, all, models.size()), width)};
  for (const RunningModel& model : models) {
    lines.push_back(safe_line(
        fmt::format("  {:<24}  {:>10}  {:>8}  {}", model.name, human_duration(model.seconds),
                    human_bytes(model.memory_bytes), model.last_line),
        width));
  }
  return lines;
}

BatchView::BatchView(const CommandContext& context) : is_live_(is_live_terminal(context)) {}

BatchView::~BatchView() { erase(); }

void BatchView::model_ended(const ZooRow& row, std::size_t ended, std::size_t all) {
  erase();
  const std::string line = fmt::format("[{}/{}] {}", ended, all, describe(row));
  if (row.state == ModelState::kDone) {
    log().info("{}", safe_line(line, line.size()));
  } else {
    log().warn("{}", safe_line(line, line.size()));
  }
}

void BatchView::models_run(const std::vector<RunningModel>& models, std::size_t ended,
                           std::size_t all) {
  const auto now = Clock::now();
  if (!is_live_ || now - drawn_at_ < kDrawInterval) return;
  drawn_at_ = now;
  erase();
  for (const std::string& line : live_table(models, ended, all, terminal_width() - 1)) {
    std::fprintf(stderr, "%s\n", line.c_str());
    ++lines_drawn_;
  }
  std::fflush(stderr);
}

void BatchView::erase() {
  if (lines_drawn_ == 0) return;
  std::fprintf(stderr, "\033[%zuA\033[J", lines_drawn_);
  std::fflush(stderr);
  lines_drawn_ = 0;
}

}  // namespace edgecompress
