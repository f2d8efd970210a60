// What is known of an INT8 network beyond what it computes with, kept in the file itself: which
// engine it was made for, and what INT8 costs each layer.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>

#include "model/model.h"
#include "recipe/options.h"

namespace edgecompress {

/// The string attribute of the module that holds the record, as JSON.
constexpr const char* kInt8RecordAttribute = "edgecompress_int8";

/// `layers`: rows with the members of Int8Facts::rows(). What the file itself says (scales) is left
/// out, and so are times, which would make the same network other bytes.
void write_int8_record(Model& model, const Json& layers);

/// {"engine": "onednn", "layers": [{"layer": ...}, ...]}, or null if the module has none that can
/// be read. The record is untrusted: anything may be in it but JSON of another shape.
Json read_int8_record(const torch::jit::Module& module);

}  // namespace edgecompress
