// How weights become INT8, as recipes say it.
#pragma once

#include <optional>
#include <string>

#include "int8/int8_engine.h"
#include "int8/quantized.h"
#include "recipe/options.h"

namespace edgecompress {

struct Int8WeightOptions {
  std::string weight_observer = "minmax";
  bool per_channel = true;
  std::string engine = "auto";
  std::optional<bool> reduce_range;  ///< see choose_weight_bits
};
/// To be spliced into options that have a `mode`.
Options<Int8WeightOptions> int8_weight_options();
WeightScheme make_weight_scheme(const Int8WeightOptions& options, const WeightBits& bits);

}  // namespace edgecompress
