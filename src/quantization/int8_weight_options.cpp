#include "quantization/int8_weight_options.h"

namespace edgecompress {

Options<Int8WeightOptions> int8_weight_options() {
  using T = Int8WeightOptions;
  const std::vector<std::string> int8_modes = {"static", "dynamic", "auto"};
  Options<T> options;
  options
      .add("weight_observer", &T::weight_observer,
           "what a weight's scale covers. minmax: the largest weight; mse: what loses least, "
           "larger weights are clipped (least squared error)")
      .one_of({"minmax", "mse"})
      .only_with("mode", int8_modes);
  options
      .add("per_channel", &T::per_channel,
           "one weight scale for each output channel instead of one a layer")
      .only_with("mode", int8_modes);
  options
      .add("engine", &T::engine,
           "whose INT8 kernels the run packs weights for and measures with; auto: onednn, x86 or "
           "fbgemm on x86 CPUs, qnnpack on others. Files run on every engine: whoever loads one "
           "packs its weights anew")
      .one_of({"auto", "onednn", "qnnpack", "fbgemm", "x86"})
      .only_with("mode", int8_modes);
  options
      .add("reduce_range", &T::reduce_range,
           "weights in 7 bits, or in all 8, with which every engine but qnnpack overflows on x86 "
           "CPUs without VNNI. Not given: 8 if engine is qnnpack, else 7, as files may run "
           "elsewhere")
      .only_with("mode", int8_modes);
  return options;
}

WeightScheme make_weight_scheme(const Int8WeightOptions& options, const WeightBits& bits) {
  WeightScheme scheme;
  scheme.per_channel = options.per_channel;
  scheme.largest = bits.largest;
  scheme.clips = options.weight_observer == "mse";
  return scheme;
}

}  // namespace edgecompress
