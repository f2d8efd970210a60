// What static INT8 can do about accuracy beyond choosing ranges: tools that change the float
// network before it is calibrated, and tools that change rounded weights and biases after it.
// Each is judged by the INT8 network's outputs on calibration samples that no tool is fitted to,
// and taken back if they are no nearer to the float network's: no tool makes that worse.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "int8/int8_scheme.h"
#include "model/model.h"
#include "recipe/options.h"
#include "util/progress.h"

namespace edgecompress {

struct AccuracyToolOptions {
  bool reestimate_batch_norms = false;
  bool equalize = false;
  std::optional<double> smooth_quant;
  std::string rounding = "nearest";
  std::int64_t rounding_iterations = 1000;
  bool bias_correction = false;

  /// Whether any tool is to be judged; batch norms are measured anew before all that.
  bool is_any() const {
    return equalize || smooth_quant || rounding != "nearest" || bias_correction;
  }
};
/// To be spliced into a pass's options.
Options<AccuracyToolOptions> accuracy_tool_options();

/// What became of one tool, for the report.
struct AccuracyTool {
  std::string tool;  ///< its option
  bool is_kept = false;
  double sqnr_before_db = 0, sqnr_after_db = 0;  ///< of the network's outputs, held-out samples
  std::string note;                              ///< what it did
};
Json to_json(const std::vector<AccuracyTool>& tools);

struct AccurateInt8 {
  Int8Scheme scheme;
  std::vector<AccuracyTool> tools;  ///< in the order in which they were tried
};

/// Plans, calibrates and rounds the network as it is then: `model` itself, or a changed clone.
using SchemeMaker = std::function<Int8Scheme(Model&)>;

/// `model` becomes the network that the scheme is for: the same function in float, other weights.
/// Each tool that changes the float network costs a calibration more, each tool two runs over the
/// held-out samples, at most 128. Throws what `make_scheme` throws.
AccurateInt8 make_accurate_int8(Model& model, const SchemeMaker& make_scheme,
                                const AccuracyToolOptions& options, const DataSets& data,
                                Progress& progress);

}  // namespace edgecompress
