// Tensors of a model archive, looked at before LibTorch makes them.
#pragma once

#include "model/zip_archive.h"

namespace edgecompress {

/// LibTorch's unpickler believes what a file says of its tensors: how much a storage holds, and
/// where a tensor lies in it. One that reaches beyond the bytes of its record is read out of
/// bounds, by packed parameters already while the file is loaded. Throws Error(kModel) naming the
/// first such tensor, and for pickles that LibTorch's own pickler never writes.
void check_archive_tensors(const ZipArchive& archive);

}  // namespace edgecompress
