// What is known of each layer that INT8 could take: the report's table of layers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/node_latency.h"
#include "int8/int8_islands.h"
#include "int8/int8_plan.h"
#include "model/model.h"
#include "quantization/int8_diagnosis.h"
#include "recipe/options.h"

namespace edgecompress {

/// A network and what became of its layers.
struct Int8Network {
  Model model;
  std::vector<Int8Layer> layers;
  std::vector<FloatIslandOp> islands;  ///< of static INT8
};

/// What was not measured is missing.
struct Int8LayerFacts {
  std::optional<Int8LayerDiagnosis> diagnosis;
  std::optional<std::int64_t> macs;
  std::optional<double> float_ms, int8_ms;

  /// Time that INT8 saves; negative: it is slower.
  std::optional<double> gain_ms() const;
};

/// By layer name. A layer that runs several times has the least ratios of all its runs, and the
/// sums of their times and multiply-accumulates.
class Int8Facts {
 public:
  /// Execution order and multiply-accumulates (if the inputs are known) of the float network.
  explicit Int8Facts(const Model& model);

  /// On calibration data; `model`: the float network that the scheme is for.
  void diagnose(const Model& model, const Int8Scheme& scheme, const DataSets& data,
                Int8DiagnosisDepth depth, Progress& progress);
  /// Times of each layer's kernels, without conversions around them. Activations that INT8 layers
  /// carry out count as float time.
  void time(Model& model, const Int8Scheme& scheme, Int8Network int8,
            const NodeLatencyMeter& measure);

  const Int8LayerFacts& of(const std::string& layer) const;
  /// Rows for a report, in execution order: layer, state (int8, float), reason, output range, and
  /// the facts. What is not known of any layer has no column.
  Json rows(std::vector<Int8Layer> layers) const;

 private:
  std::vector<std::string> order_;
  std::map<std::string, Int8LayerFacts> facts_;
};

}  // namespace edgecompress
