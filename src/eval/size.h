// What a stored model occupies: on disk, zipped, in parameters, in memory.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <filesystem>

#include "report/report.h"

namespace edgecompress {

/// Of the file and of what the module it holds stores; packed INT8 parameters are unpacked to
/// count.
Size measure_size(const std::filesystem::path& path, const torch::jit::Module& module);

/// High-water mark of this process's resident memory, bytes; 0 where the system doesn't say.
std::int64_t peak_memory_bytes();
/// Starts the mark anew (Linux: /proc/self/clear_refs); false where that isn't possible.
bool reset_peak_memory();

}  // namespace edgecompress
