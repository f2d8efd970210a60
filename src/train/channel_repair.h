// Repair without labels: brings what channels were taken from back to what it computed before, as
// far as calibration data can tell.
//
//   1. Reconstruction. For each convolution and linear layer that lost inputs, in execution order,
//      the change D of what is left of its weights and bias that makes up for them best:
//
//        min_D  sum over positions of |y - y' - D x'|^2  +  lambda |D|^2
//
//      y: the layer's outputs before the removal; x', y': inputs and outputs of the layer as it is
//      in the smaller network, with the layers before it repaired. The intercept, where the layer
//      has a bias, is bias compensation. He et al. 2017, "Channel Pruning for Accelerating Very
//      Deep Neural Networks", eq. 3; lambda: ridge, so that few samples don't overfit.
//   2. Batch norms, in execution order: the running mean and variance move as the layer's inputs
//      have moved on the calibration data,
//
//        mean' = mean + (E x' - E x)      variance' = variance * Var x' / Var x
//
//   Each is kept only if it brings the outputs nearer to those before, on samples that nothing was
//   fitted to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/channel_groups.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

struct ChannelRepair {
  std::int64_t layers = 0, batch_norms = 0;  ///< repaired
  /// sum |y - y'|^2 / sum |y - mean y|^2 over the network's outputs on held-out calibration
  /// samples: right after the removal, and at the end.
  double error_before = 0, error_after = 0;
  std::vector<std::string> notes;  ///< layers that can't be repaired, each with its reason
};

/// `model` is `original` without the units `removed` of `groups`, which are those of `original`.
/// Streams the calibration data (at most 512 samples of it) through both networks a bounded number
/// of times; memory is that of the layers' products, 512 MiB at most, and of two forward passes.
/// Every fourth batch is held out, if there are as many. Throws Error(kData) without calibration
/// data.
ChannelRepair repair_channels(Model& model, const Model& original, const ChannelGroups& groups,
                              const UnitChoice& removed, const DataSets& data, Progress& progress);

}  // namespace edgecompress
