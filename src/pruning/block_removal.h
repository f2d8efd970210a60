// Making a network shallower: which residual blocks go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/layer_filter.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

struct BlockRemoval {
  struct Block {
    std::string name;
    double influence;  ///< residual_blocks.h
    bool is_removed;
  };
  std::vector<Block> blocks;  ///< that could be removed, in execution order
  std::string measured_on;    ///< "512 calibration samples"

  std::int64_t removed() const;
};

/// Removes the residual blocks that change least what passes through them: `depth` of them, to the
/// nearest whole number, where it is below 1; else so many. Blocks count that have a layer which
/// `included` accepts and none that `excluded` fails. Influence is measured on up to 512 samples of
/// the calibration set; without one, on the model's example inputs, which are noise.
BlockRemoval remove_blocks(Model& model, double depth, const LayerFilter& included,
                           const LayerFilter& excluded, const DataSets* data, Progress& progress);

}  // namespace edgecompress
