// Dynamic INT8: weights are packed INT8, activations stay float between layers and are quantized
// inside the kernel, by the range of each batch. Needs no calibration.
#pragma once

#include <vector>

#include "int8/int8_plan.h"
#include "model/layer_filter.h"

namespace edgecompress {

struct DynamicInt8Options {
  bool has_linear = true;  ///< linear layers too, not only LSTM and GRU
  WeightScheme weights;    ///< those of RNNs have one scale a matrix
  /// The float ops stay and read weights that plain ops dequantize on each run: without an INT8
  /// engine, as small, activations not rounded at all.
  bool is_portable = false;
};

/// Linear layers become quantized::linear_dynamic (linear_relu_dynamic with a ReLU after it), LSTM
/// and GRU aten::quantized_lstm and aten::quantized_gru. Returns the layers, INT8 or not (only LSTM
/// and GRU without `has_linear`); float weights that nobody reads any more are removed.
std::vector<Int8Layer> rewrite_dynamic_int8(Model& model, const LayerFilter& filter,
                                            const DynamicInt8Options& options);

}  // namespace edgecompress
