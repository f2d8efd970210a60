#include "cli/signals.h"

#include "edgecompress/edgecompress.h"

namespace edgecompress {
namespace {

void stop_soon(int signal_number) {
  request_interrupt();
  std::signal(signal_number, SIG_DFL);  // the next one doesn't wait
}

}  // namespace

WorkSignals::WorkSignals() {
  struct sigaction action = {};
  action.sa_handler = stop_soon;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &interrupt_);
  sigaction(SIGTERM, &action, &terminate_);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, &pipe_);
}

WorkSignals::~WorkSignals() {
  sigaction(SIGINT, &interrupt_, nullptr);
  sigaction(SIGTERM, &terminate_, nullptr);
  sigaction(SIGPIPE, &pipe_, nullptr);
}

}  // namespace edgecompress
