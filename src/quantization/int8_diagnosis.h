// What INT8 costs each layer of a network, measured on calibration data while the network is still
// float.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "data/dataset.h"
#include "int8/int8_scheme.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

/// Signal-to-quantization-noise ratios: 10 log10(sum x^2 / sum (x - x')^2) in dB, 200 where nothing
/// is lost, -200 where what comes out is not finite.
struct Int8LayerDiagnosis {
  double weight_sqnr_db = 0;  ///< of the weight alone
  double output_sqnr_db = 0;  ///< of the layer alone, its inputs, weight and outputs rounded
  /// Of the network's outputs where this layer alone is rounded.
  std::optional<double> network_sqnr_db;
  double clipped = 0;  ///< share of its outputs that are cut at an end of their range; what a fused
                       ///< activation cuts does not count
};
Int8LayerDiagnosis worse_of(const Int8LayerDiagnosis& a, const Int8LayerDiagnosis& b);
using Int8Diagnosis = std::unordered_map<const torch::jit::Node*, Int8LayerDiagnosis>;

enum class Int8DiagnosisDepth {
  kLayers,  ///< all but network_sqnr_db: three forward passes over 4 calibration samples
  kNetwork  ///< a forward pass for each layer besides, over at most 32, fewer where layers are many
};

/// By Int8Op::node of the scheme's layers. A layer that the data doesn't reach is missing.
Int8Diagnosis diagnose_int8(const Model& model, const Int8Scheme& scheme, const Dataset& data,
                            std::int64_t batch_size, Int8DiagnosisDepth depth, Progress& progress);

}  // namespace edgecompress
