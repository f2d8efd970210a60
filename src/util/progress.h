// Progress of long work, and the one place where an interrupt is noticed.
#pragma once

#include <cstdint>
#include <string>

namespace edgecompress {

/// request_interrupt() is declared in edgecompress/edgecompress.h; the next Progress::advance
/// throws.
bool interrupt_requested();
void clear_interrupt();
/// Throws Error(kInterrupted) once an interrupt was requested.
void throw_if_interrupted();

/// Where long work tells how far it is. Library code is given one and never prints.
class Progress {
 public:
  virtual ~Progress() = default;
  /// A new stage of `total` units ("calibrate", 256 samples); total 0: unknown.
  void begin(const std::string& stage, std::int64_t total);
  /// `count` more units are done; `detail` is shown beside the bar ("loss 0.31").
  /// Throws Error(kInterrupted) once an interrupt was requested.
  void advance(std::int64_t count = 1, const std::string& detail = {});
  void end();

 protected:
  virtual void show(const std::string& /*stage*/, std::int64_t /*done*/, std::int64_t /*total*/,
                    double /*seconds_left*/, const std::string& /*detail*/) {}
  virtual void hide() {}

 private:
  std::string stage_;
  std::int64_t done_ = 0;
  std::int64_t total_ = 0;
  double started_s_ = 0;
};

}  // namespace edgecompress
