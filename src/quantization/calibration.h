// Runs calibration data through a float network and watches what INT8 will need ranges for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/dataset.h"
#include "int8/int8_plan.h"
#include "int8/observer.h"
#include "recipe/options.h"
#include "util/progress.h"

namespace edgecompress {

/// How ranges are chosen, as recipes say it.
struct CalibrationOptions {
  std::string observer = "histogram";
  double averaging_constant = ObserverOptions{}.averaging_constant;
  double percentile = ObserverOptions{}.percentile;
  std::string activation_scheme = "affine";
};
/// To be spliced into options that have a `mode`.
Options<CalibrationOptions> calibration_options();
ObserverOptions make_observer_options(const CalibrationOptions& options);

class Calibration {
 public:
  /// Of plan.measured. The model must outlive the calibration and not be edited meanwhile.
  Calibration(Model& model, const Int8Plan& plan, const ObserverOptions& observer);

  /// Streams the data through the network; memory does not grow with it.
  /// Throws Error(kData) where values are not finite.
  void run(std::shared_ptr<const Dataset> data, std::int64_t batch_size, Progress& progress);

  /// Whether the data reached the value, in float32.
  bool has_range(const torch::jit::Value* value) const;
  QuantizedRange range(const torch::jit::Value* value) const;

 private:
  void observe_inputs(const std::vector<at::Tensor>& inputs);
  void check_finite() const;

  Model& model_;
  std::vector<const torch::jit::Value*> measured_;  // in execution order
  std::unordered_map<const torch::jit::Value*, Observer> observers_;
  std::unordered_map<const torch::jit::Node*, std::vector<std::pair<std::size_t, Observer*>>>
      by_node_;
};

}  // namespace edgecompress
