#include "cli/progress_view.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>

#include "cli/terminal.h"
#include "util/log.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::chrono::milliseconds kBarInterval{100};
constexpr std::chrono::seconds kLineInterval{10};
constexpr std::int64_t kBarCells = 24;

}  // namespace

std::string progress_line(const ProgressEvent& event, std::size_t width) {
  std::string line = event.stage;
  if (event.total > 0) {
    const std::int64_t done = std::clamp<std::int64_t>(event.done, 0, event.total);
    const std::int64_t cells = done * kBarCells / event.total;
    line += fmt::format("  [{:#<{}}{:.<{}}]  {}%", "", cells, "", kBarCells - cells,
                        done * 100 / event.total);
  } else {
    line += fmt::format("  {}", event.done);
  }
  if (event.seconds_left >= 0) line += "  " + human_duration(event.seconds_left) + " left";
  if (!event.detail.empty()) line += "  " + event.detail;
  if (line.size() > width) line.resize(width);
  return line;
}

ProgressView::ProgressView(const CommandContext& context) {
  if (context.is_quiet) {
    form_ = Form::kNone;
  } else {
    form_ = is_live_terminal(context) ? Form::kBar : Form::kLines;
  }
}

ProgressView::~ProgressView() { erase_bar(); }

void ProgressView::show(const ProgressEvent& event) {
  if (event.is_end) {
    erase_bar();
    stage_.clear();
  } else if (form_ == Form::kBar) {
    if (is_due(event.stage, kBarInterval)) draw_bar(event);
  } else if (form_ == Form::kLines) {
    if (is_due(event.stage, kLineInterval)) {
      const std::string left =
          event.seconds_left >= 0 ? ", " + human_duration(event.seconds_left) + " left" : "";
      const std::string total = event.total > 0 ? fmt::format(" of {}", event.total) : "";
      const std::string detail = event.detail.empty() ? "" : ", " + event.detail;
      log().info("{}: {}{}{}{}", event.stage, event.done, total, left, detail);
    }
  }
}

bool ProgressView::is_due(const std::string& stage, Clock::duration interval) {
  const auto now = Clock::now();
  if (stage != stage_) {  // a short stage is not worth a word
    stage_ = stage;
    last_ = now;
    return false;
  }
  if (now - last_ < interval) return false;
  last_ = now;
  return true;
}

void ProgressView::draw_bar(const ProgressEvent& event) {
  const std::string line = progress_line(event, terminal_width() - 1);
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  is_drawn_ = true;
}

void ProgressView::erase_bar() {
  if (!is_drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  is_drawn_ = false;
}

}  // namespace edgecompress
