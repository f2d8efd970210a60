// The terminal that standard error is, if it is one.
#pragma once

#include <cstddef>

#include "cli/command.h"

namespace edgecompress {

/// Whether lines may be drawn over: a terminal, and a log of plain text that may be written.
bool is_live_terminal(const CommandContext& context);
/// Columns; 80 where nobody knows.
std::size_t terminal_width();

}  // namespace edgecompress
