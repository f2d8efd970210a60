// Repair without labels: brings what channels were taken from back to what it computed before, as
// far as calibration data can tell.
//
//   1. Reconstruction. For each convolution and linear layer that lost inputs, in execution order,
//      the change D of what is left of its weights and bias that makes up for them best:
//
//        min_D,d  sum over positions of |y - y' - D x' - d|^2  +  lambda |D|^2
//
//      y: the layer's outputs before the removal; x', y': inputs and outputs of the layer as it is
//      in the smaller network, with the layers before it repaired. d is bias compensation: it goes
//      into the bias, or into the running mean of the batch norm that follows. He et al. 2017,
//      "Channel Pruning for Accelerating Very Deep Neural Networks", eq. 3; lambda: ridge, so that
//      few samples don't overfit.
//   2. Batch norms, in execution order: the running mean and variance move as their inputs have
//      moved on the calibration data,
//
//        mean' = mean + (E x' - E x)      variance' = variance * Var x' / Var x
//
//   Each of the two is kept only if it brings the outputs nearer to those before, on samples that
//   nothing was fitted to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "pruning/kept_positions.h"
#include "pruning/repair_fits.h"
#include "util/progress.h"

namespace edgecompress {

struct ChannelRepair {
  std::int64_t layers = 0, batch_norms = 0;  ///< repaired
  /// False: the outputs came no nearer by it, so that all of it was thrown away.
  bool keeps_layers = true, keeps_batch_norms = true;
  /// sum |y - y'|^2 / sum |y|^2 of the network's outputs on held-out calibration samples: right
  /// after the removal, and at the end.
  double error_before = 0, error_after = 0;
  std::vector<std::string> notes;  ///< layers that can't be repaired, each with its reason
};

/// `model` is `original` without the channels that `kept` no longer has, and perhaps without
/// residual blocks.
///
/// Both networks run over the calibration data (at most 512 samples, every fourth of them held out)
/// side by side, from layer to layer: all samples stop where something is to be fitted, and go on
/// through the repaired layer. Where what they hold there would be more than `live_bytes`, the last
/// of them wait at the beginning and catch up later: early layers, with many positions a sample,
/// see fewer samples. So repair costs a few forward passes, whatever the network's depth. Throws
/// Error(kData) without calibration data.
ChannelRepair repair_channels(Model& model, const Model& original, const KeptPositions& kept,
                              const DataSets& data, Progress& progress,
                              std::int64_t live_bytes = std::int64_t{512} << 20);

/// The same where layers of `model` stand in for others of `original` and no channel is gone: it is
/// they that are reconstructed.
ChannelRepair repair_stand_ins(Model& model, const Model& original,
                               const std::vector<StandIn>& stand_ins, const DataSets& data,
                               Progress& progress,
                               std::int64_t live_bytes = std::int64_t{512} << 20);

}  // namespace edgecompress
