// The source texts of an archive, before LibTorch parses them.
#pragma once

#include "model/zip_archive.h"

namespace edgecompress {

/// LibTorch's parser and compiler recurse over brackets, operators and blocks, and run out of stack
/// (which ends the process) where a text nests them by the ten thousand. Throws Error(kModel) for a
/// text that nests far deeper than PyTorch writes any, or is larger than 256 MiB.
void check_archive_code(const ZipArchive& archive);

}  // namespace edgecompress
