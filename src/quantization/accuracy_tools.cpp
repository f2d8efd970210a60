#include "quantization/accuracy_tools.h"

#include <fmt/format.h>

#include <utility>

#include "int8/cross_layer_equalization.h"
#include "quantization/bias_correction.h"
#include "quantization/int8_judge.h"
#include "quantization/smooth_quant.h"
#include "quantization/weight_rounding.h"
#include "train/held_out_calibration.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kMostFittedSamples = 512;

/// The network and its scheme, as good as the tools tried so far have made them.
class Improvement {
 public:
  Improvement(Model& model, const SchemeMaker& make_scheme, const DataSets& data,
              Progress& progress)
      : model_(model), make_scheme_(make_scheme), judge_(data, progress) {
    best_.scheme = make_scheme(model);
    sqnr_db_ = judge_.sqnr_db(model, best_.scheme);
  }

  /// `change` edits a clone of the float network, leaving its function, and returns what it did.
  void try_network(const std::string& tool, const std::function<std::string(Model&)>& change) {
    Model changed = model_.clone();
    std::string note = change(changed);
    Int8Scheme scheme = make_scheme_(changed);
    if (!settle(tool, std::move(note), judge_.sqnr_db(changed, scheme))) return;
    best_.scheme = std::move(scheme);
    model_ = std::move(changed);
  }

  /// `change` edits a copy of the scheme by the samples to be fitted to, and returns what it did.
  void try_scheme(const std::string& tool, const std::function<std::string(Int8Scheme&)>& change) {
    Int8Scheme changed = best_.scheme;
    std::string note = change(changed);
    if (settle(tool, std::move(note), judge_.sqnr_db(model_, changed)))
      best_.scheme = std::move(changed);
  }

  AccurateInt8 take() { return std::move(best_); }

 private:
  /// Whether the tool's work stays.
  bool settle(const std::string& tool, std::string note, double sqnr_db) {
    const bool is_kept = sqnr_db > sqnr_db_;
    best_.tools.push_back({tool, is_kept, sqnr_db_, sqnr_db, std::move(note)});
    if (is_kept) sqnr_db_ = sqnr_db;
    return is_kept;
  }

  Model& model_;
  const SchemeMaker& make_scheme_;
  Int8Judge judge_;
  AccurateInt8 best_;
  double sqnr_db_ = 0;
};

std::string describe(const Equalization& done) {
  return fmt::format(
      "{} channels of {} weights scaled in {} sweeps, ranges {:.0f} to {:.0f} times apart",
      done.channels, done.weights, done.sweeps, done.spread_before, done.spread_after);
}

std::string describe(const SmoothQuant& done) {
  return fmt::format(
      "{} channels that {} layers read, the largest {:.0f} to {:.0f} times the median",
      done.channels, done.layers, done.spread_before, done.spread_after);
}

std::string describe(const WeightRounding& done) {
  const std::string kept = done.notes.empty() ? "" : "; to nearest: " + join(done.notes, ", ");
  return fmt::format("{} layers rounded", done.layers) + kept;
}

std::string describe(const BiasCorrection& done) {
  return fmt::format("{} layers corrected, means by up to {:.2f} standard deviations", done.layers,
                     done.largest_shift);
}

}  // namespace

Options<AccuracyToolOptions> accuracy_tool_options() {
  using T = AccuracyToolOptions;
  Options<T> options;
  options
      .add("reestimate_batch_norms", &T::reestimate_batch_norms,
           "before anything else, batch norms take the statistics of the "
           "calibration data; changes the float network, for networks whose own are out of date")
      .only_with("mode", {"static", "auto"});
  options
      .add("equalize", &T::equalize,
           "scales channels between layers until each weight's have like ranges "
           "(cross-layer equalization); kept if it brings the outputs nearer to the float ones")
      .only_with("mode", {"static", "auto"});
  options
      .add("smooth_quant", &T::smooth_quant,
           "how much of the scale of what linear layers read moves into their weights "
           "(SmoothQuant's alpha, 0.5 suits most transformers), kept if the outputs come nearer")
      .at_least(0)
      .at_most(1)
      .only_with("mode", {"static", "auto"});
  options
      .add("rounding", &T::rounding,
           "each weight to the nearest value; or, layer by layer on calibration data, "
           "so that outputs stay near: gptq (column by column) or adaround (up or down, learned), "
           "kept if the network's outputs come nearer")
      .one_of({"nearest", "gptq", "adaround"})
      .only_with("mode", {"static", "auto", "weight_only"});
  options
      .add("rounding_iterations", &T::rounding_iterations, "steps that adaround learns a layer for")
      .at_least(1)
      .at_most(100000)
      .only_with("rounding", {"adaround"});
  options
      .add("bias_correction", &T::bias_correction,
           "biases take back by how much rounding shifts the means of what layers "
           "compute, on calibration data; kept if it brings the outputs nearer")
      .only_with("mode", {"static", "auto"});
  return options;
}

Json to_json(const std::vector<AccuracyTool>& tools) {
  Json list = Json::array();
  for (const AccuracyTool& tool : tools) {
    list.push_back({{"tool", tool.tool},
                    {"kept", tool.is_kept},
                    {"sqnr_before_db", tool.sqnr_before_db},
                    {"sqnr_after_db", tool.sqnr_after_db},
                    {"note", tool.note}});
  }
  return list;
}

AccurateInt8 make_accurate_int8(Model& model, const SchemeMaker& make_scheme,
                                const AccuracyToolOptions& options, const DataSets& data,
                                Progress& progress) {
  if (!options.is_any()) return {make_scheme(model), {}};
  Improvement improvement(model, make_scheme, data, progress);
  const auto fitted = hold_out_calibration(data, kMostFittedSamples).fitted;
  if (options.equalize) {
    improvement.try_network("equalize",
                            [](Model& network) { return describe(equalize_layers(network)); });
  }
  if (options.smooth_quant) {
    improvement.try_network("smooth_quant", [&](Model& network) {
      return describe(smooth_activations(network, *options.smooth_quant, fitted,
                                         data.calibration_batch, progress));
    });
  }
  if (options.rounding != "nearest") {
    const bool is_gptq = options.rounding == "gptq";
    improvement.try_scheme(options.rounding, [&](Int8Scheme& scheme) {
      return describe(
          round_weights(model, scheme, is_gptq ? RoundingMethod::kGptq : RoundingMethod::kAdaRound,
                        options.rounding_iterations, fitted, data.calibration_batch, progress));
    });
  }
  if (options.bias_correction) {
    improvement.try_scheme("bias_correction", [&](Int8Scheme& scheme) {
      return describe(correct_biases(model, scheme, fitted, data.calibration_batch, progress));
    });
  }
  return improvement.take();
}

}  // namespace edgecompress
