// What a stored model occupies: on disk, zipped, in parameters, in memory.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "recipe/recipe.h"
#include "report/report.h"

namespace edgecompress {

/// Of the file and of what the module it holds stores. `parameters` are the elements of every
/// floating, complex or quantized tensor of at least one dimension that the archive holds, but for
/// registered buffers (batch-norm statistics): parameters, plain attributes, constants of the code,
/// and what packed INT8 (or other) objects write of themselves. Tied weights count once. A mask is
/// no compression: a masked weight is still counted, and only `nonzero_parameters` shows it.
/// `weight_bytes` is of the same tensors, one byte an INT8 weight.
Size measure_size(const std::filesystem::path& path, const torch::jit::Module& module);

/// High-water mark of this process's resident memory, bytes; 0 where the system doesn't say.
std::int64_t peak_memory_bytes();
/// Starts the mark anew (Linux: /proc/self/clear_refs); false where that isn't possible.
bool reset_peak_memory();

/// Growth of the resident high-water mark while the stored file is loaded and run once on an
/// example batch, bytes; 0 where the system doesn't say. Starts the mark anew, so read
/// peak_memory_bytes() before. Throws Error(kModel) for a file that doesn't load or run.
std::int64_t measure_peak_memory(const std::filesystem::path& path,
                                 const std::vector<InputSpec>& inputs, std::int64_t batch_size);

}  // namespace edgecompress
