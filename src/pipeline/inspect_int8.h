// `inspect --int8`: what INT8 layers of a file compute with, and what is on record about them.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <string>

#include "model/model.h"
#include "recipe/options.h"

namespace edgecompress {

struct Int8Inspection {
  std::string text;
  Json json;  ///< {"engine": ..., "layers": [...]}; engine is null where the file doesn't say
};

/// Of any file with INT8 layers, whoever wrote it: scale, zero point and range of the output, and
/// scales and largest value of the weight, as the file holds them. Of our own files also what the
/// record says: see int8_record.h. `stored`: the module that `model` was loaded from.
Int8Inspection inspect_int8(const Model& model, const torch::jit::Module& stored);

}  // namespace edgecompress
