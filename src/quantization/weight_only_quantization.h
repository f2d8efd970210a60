// Puts the weights of large linear layers and embeddings into 8 or 4 bits, see weight_only.h.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "int8/weight_only.h"
#include "recipe/options.h"
#include "util/progress.h"

namespace edgecompress {

/// To be spliced into a pass's options.
Options<WeightOnlyOptions> weight_only_options();

struct WeightOnlyResult {
  std::vector<Int8Layer> layers;  ///< linear layers and embeddings, those that stay float included
  std::int64_t bytes_before = 0, bytes_after = 0;  ///< of the weights that changed
};

/// With `data`, weights of linear layers are rounded by GPTQ on its calibration samples, as many at
/// a time as 1 GiB of sums allows (wider ones to nearest); without (null), to nearest. Embeddings
/// are rounded to nearest: a row meets nothing that could make up for another.
WeightOnlyResult quantize_weights_only(Model& model, const LayerFilter& filter,
                                       const WeightOnlyOptions& options, const DataSets* data,
                                       Progress& progress);

}  // namespace edgecompress
