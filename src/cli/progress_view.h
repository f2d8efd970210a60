// Progress for whoever watches: a bar on a terminal, now and then a log line anywhere else.
#pragma once

#include <chrono>
#include <string>

#include "cli/command.h"

namespace edgecompress {

class ProgressView {
 public:
  explicit ProgressView(const CommandContext& context);
  ~ProgressView();
  ProgressView(const ProgressView&) = delete;
  ProgressView& operator=(const ProgressView&) = delete;

  void show(const ProgressEvent& event);

 private:
  using Clock = std::chrono::steady_clock;
  void draw_bar(const ProgressEvent& event);
  void erase_bar();
  bool is_due(const std::string& stage, Clock::duration interval);

  enum class Form { kNone, kBar, kLines } form_;
  bool is_drawn_ = false;
  std::string stage_;
  Clock::time_point last_;
};

/// "train  [######......]  52%  12 s left  loss 0.31", at most `width` columns.
std::string progress_line(const ProgressEvent& event, std::size_t width);

}  // namespace edgecompress
