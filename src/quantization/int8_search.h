// Chooses which layers become INT8: as few as needed stay float for the bounds on accuracy, and
// what is slower in INT8 on this machine stays float too.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

/// What a network with some of its layers in INT8 is worth against the float one.
struct Int8Worth {
  double loss = 0;  ///< of accuracy, in the metric's unit; negative: it is better
  std::optional<double> latency_share;  ///< of the float network's, as measured
  double size_share = 1;                ///< of the float network's file
  bool has_int8 = true;                 ///< false: it is the float network after all
};

struct Int8Bounds {
  double max_accuracy_drop = 0.01;
  std::optional<double> min_speedup;     ///< against the float network
  std::optional<double> max_size_ratio;  ///< of the float network's file

  bool are_met(const Int8Worth& worth) const;
};

/// To be spliced into options that have a `mode`.
Options<Int8Bounds> int8_bound_options();

/// A network to be tried.
struct Int8Candidate {
  bool is_dynamic = false;       ///< INT8 weights, activations quantized at run time
  std::set<std::string> floats;  ///< layers that stay float
};

/// One layer by itself, the others float.
struct Int8LayerCost {
  std::string name;
  double network_sqnr_db = 0;     ///< of the network's outputs: what its rounding costs
  std::optional<double> gain_ms;  ///< time it saves; negative: INT8 is slower
};

struct Int8Trial {
  std::string what;  ///< "all layers in INT8", "slower layers float", "dynamic"
  Int8Candidate candidate;
  Int8Worth worth;
  bool meets_bounds = false;
};

struct Int8Choice {
  std::vector<Int8Trial> trials;    ///< in the order in which they were made
  std::optional<std::size_t> best;  ///< index of a trial; nothing: the float network is best
};

/// Tries the network with every layer in INT8, without the layers that INT8 makes slower, dynamic
/// if `has_dynamic`, and, while the loss is above its bound, with more layers float: those first
/// whose rounding costs most for the time it saves, their number found by bisection. Best is, of
/// the networks within the loss, one that meets the other bounds before one that doesn't, then the
/// fastest (the smallest, where latency is not known). A network slower than the float one is never
/// best unless `max_size_ratio` asks for a smaller file.
Int8Choice search_int8(const std::vector<Int8LayerCost>& layers, const Int8Bounds& bounds,
                       bool has_dynamic,
                       const std::function<Int8Worth(const Int8Candidate&)>& measure);

}  // namespace edgecompress
