// Running statistics of batch norms, measured anew: what an earlier step (pruning, an adapter) made
// of the activations, or data unlike that of the training, is not what the stored ones tell.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/dataset.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

struct BatchNormEstimation {
  std::int64_t batch_norms = 0;  ///< whose statistics are new
  /// Largest move of a channel's mean, in its former standard deviations.
  double largest_shift = 0;
};

/// Mean and variance of every batch norm become those of its inputs over the data, each batch
/// normalised by its own statistics on the way, as in training: give it batches of 32 or more.
/// Batch norms in branches that the data never takes keep theirs, and so do those whose statistics
/// are not stored or shared.
BatchNormEstimation estimate_batch_norms(Model& model, std::shared_ptr<const Dataset> data,
                                         std::int64_t batch_size, Progress& progress);

}  // namespace edgecompress
