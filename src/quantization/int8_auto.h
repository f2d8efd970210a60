// mode "auto": measures what INT8 costs and gains each layer here, tries networks, keeps the best.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "eval/evaluate.h"
#include "eval/node_latency.h"
#include "int8/int8_scheme.h"
#include "model/model.h"
#include "quantization/int8_layer_facts.h"
#include "quantization/int8_search.h"
#include "recipe/options.h"
#include "util/progress.h"

namespace edgecompress {

/// What can be measured of a network; empty: it can't.
struct Int8Measures {
  std::function<Score(const Forward&)> score;
  std::function<double(const Model&)> latency_share, size_share;
  NodeLatencyMeter node_latency;
};

/// How the networks that are tried are made; neither changes what it is given.
struct Int8Makers {
  std::function<Int8Network(const Model&, const Int8Scheme&)> make_static;
  std::function<Int8Network(const Model&)> make_dynamic;  ///< empty: there is nothing to be dynamic
};

struct Int8AutoResult {
  /// What the search settled on; nothing where the float network is best.
  std::optional<Int8Network> best;
  Int8Facts facts;
  Json trials;       ///< rows for the report
  std::string note;  ///< one clause: "slower layers float, the best of 3 tried"
};

/// `model`: the float network that the scheme is for; `refusal`: what the recipe leaves float.
/// Accuracy is the score on the set where choices are made, or, without labels, agreement with the
/// float network's classes (or outputs) on the calibration data.
Int8AutoResult choose_int8_layers(Model& model, const Int8Scheme& scheme,
                                  const LayerRefusal& refusal, const Int8Makers& makers,
                                  const Int8Bounds& bounds, const Int8Measures& measures,
                                  const DataSets& data, Progress& progress);

}  // namespace edgecompress
