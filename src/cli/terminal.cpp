#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace edgecompress {

bool is_live_terminal(const CommandContext& context) {
  return !context.is_quiet && context.log_format == "text" && isatty(STDERR_FILENO) != 0;
}

std::size_t terminal_width() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

}  // namespace edgecompress
