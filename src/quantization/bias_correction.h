// Bias correction: rounding shifts the mean of what a layer computes; its bias takes that back.
//
//   b' = b + E[y] - E[y']      per output channel
//
// y: the float layer's output in the float network; y': the INT8 layer's in the INT8 network, with
// the layers before it rounded and corrected. Nagel et al. 2019, "Data-Free Quantization Through
// Weight Equalization and Bias Correction", section 4.2, measured on calibration data.
#pragma once

#include <cstdint>
#include <memory>

#include "data/dataset.h"
#include "int8/int8_scheme.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

struct BiasCorrection {
  std::int64_t layers = 0;  ///< corrected
  /// Largest |E[y] - E[y']| of a channel, in standard deviations of the layer's outputs.
  double largest_shift = 0;
};

/// Changes the scheme's biases, in execution order; layers in branches and loops keep theirs. Costs
/// a few forward passes over `data`, in bounded memory, see PairedSweep.
BiasCorrection correct_biases(const Model& model, Int8Scheme& scheme,
                              std::shared_ptr<const Dataset> data, std::int64_t batch_size,
                              Progress& progress);

}  // namespace edgecompress
