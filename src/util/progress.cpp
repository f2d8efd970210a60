#include "util/progress.h"

#include <atomic>
#include <chrono>

#include "edgecompress/edgecompress.h"

namespace edgecompress {

namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void request_interrupt() { interrupted = true; }
bool interrupt_requested() { return interrupted; }
void clear_interrupt() { interrupted = false; }

void throw_if_interrupted() {
  if (interrupted) throw Error(ExitCode::kInterrupted, "interrupted");
}

void Progress::begin(const std::string& stage, std::int64_t total) {
  stage_ = stage;
  done_ = 0;
  total_ = total;
  started_s_ = now_s();
  show(stage_, done_, total_, -1, {});
}

void Progress::advance(std::int64_t count, const std::string& detail) {
  throw_if_interrupted();
  done_ += count;
  double seconds_left = -1;
  if (total_ > 0 && done_ > 0 && done_ <= total_) {
    seconds_left =
        (now_s() - started_s_) * static_cast<double>(total_ - done_) / static_cast<double>(done_);
  }
  show(stage_, done_, total_, seconds_left, detail);
}

void Progress::end() { hide(); }

}  // namespace edgecompress
