// Signals while the engine works: the first interrupt asks it to stop, the second kills.
#pragma once

#include <csignal>

namespace edgecompress {

/// While it lives, SIGINT and SIGTERM call request_interrupt() and a closed pipe (a log reader that
/// went away) does not end the work; after it the handlers are those of before.
class WorkSignals {
 public:
  WorkSignals();
  ~WorkSignals();
  WorkSignals(const WorkSignals&) = delete;
  WorkSignals& operator=(const WorkSignals&) = delete;

 private:
  struct sigaction interrupt_, terminate_, pipe_;
};

}  // namespace edgecompress
