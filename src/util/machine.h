// What this process may use of the machine.
#pragma once

#include <cstdint>

namespace edgecompress {

/// Cores that the scheduler may run it on, or the share that a control group gives; at least 1.
std::int64_t usable_cores();
/// Physical memory, or less where a control group says so.
std::int64_t usable_memory_bytes();

}  // namespace edgecompress
