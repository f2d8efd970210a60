// Rounds the weights of a static INT8 scheme for the sake of what layers compute, not for that of
// each weight: layer by layer, in execution order, each given the inputs that the rounded layers
// before it make.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "int8/int8_scheme.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

enum class RoundingMethod {
  kGptq,     ///< column by column, see gptq.h
  kAdaRound  ///< up or down, learned, see adaround.h
};

struct WeightRounding {
  std::int64_t layers = 0;         ///< rounded anew
  std::vector<std::string> notes;  ///< layers that keep the nearest values, each with its reason
};

/// Changes the scheme's weights, not their scales, and its biases, which take up what is left of
/// the means. Memory: the activations of PairedSweep and the sums of one layer, at most 256 MiB
/// each.
WeightRounding round_weights(const Model& model, Int8Scheme& scheme, RoundingMethod method,
                             std::int64_t iterations, std::shared_ptr<const Dataset> data,
                             std::int64_t batch_size, Progress& progress);

}  // namespace edgecompress
