// quantize_int8: weights and activations in 8 bits, run by LibTorch's INT8 kernels.
//
//   Before   x -> conv -> batch_norm -> relu -> add -> relu -> linear -> y          (float32)
//   After    x -> quantize -> conv_relu -> add_relu -> linear -> dequantize -> y    (mode static)
//            x -> linear_dynamic, quantized_lstm -> y                               (mode dynamic)
//   Applies  static: to convolutions (1-3 d, transposed too) and linear layers with stored float32
//            weights; what lies between them stays INT8 where it has a kernel (add, mul, cat,
//            pooling, views, resizing, padding with zeros, norms, activations). Ranges come from
//            calibration data. dynamic: to linear layers, LSTM and GRU. Both: to embedding tables,
//            which are stored in INT8. Everything else stays float and is named.
//   Formula  real = scale (q - zero_point). Weights: symmetric, scale = max|w| / 64 (or 127) per
//            output channel. Activations: affine over the range that the observer chose, see
//            observer.h. Jacob et al. 2018, "Quantization and Training of Neural Networks for
//            Efficient Integer-Arithmetic-Only Inference"; Banner et al. 2019, "Post training 4-bit
//            quantization of convolutional networks for rapid-deployment".
//   Training see quantization/quantization_aware_training.h; the portable form:
//            int8/int8_portable.h.
#include <algorithm>
#include <optional>

#include "edgecompress/error.h"
#include "int8/int8_dynamic.h"
#include "int8/int8_embedding.h"
#include "int8/int8_engine.h"
#include "int8/int8_portable.h"
#include "int8/int8_record.h"
#include "int8/int8_rewrite.h"
#include "model/batch_norm_folding.h"
#include "model/layers.h"
#include "passes/pass.h"
#include "quantization/accuracy_tools.h"
#include "quantization/calibration.h"
#include "quantization/int8_auto.h"
#include "quantization/int8_layer_facts.h"
#include "quantization/int8_weight_options.h"
#include "quantization/quantization_aware_training.h"
#include "quantization/weight_only_quantization.h"
#include "train/batch_norm_estimation.h"
#include "util/cpu.h"
#include "util/random.h"

namespace edgecompress {
namespace {

using torch::jit::Value;

struct QuantizeInt8Options {
  std::string mode = "static";
  CalibrationOptions calibration;
  Int8WeightOptions weights;
  bool dynamic_rnn = true;
  bool diagnose = false;
  AccuracyToolOptions accuracy;
  std::optional<QuantizationAwareTrainingOptions> training;
  Int8Bounds bounds;
  WeightOnlyOptions weight_only;
  bool portable = false;
  std::vector<std::string> include, exclude;
};

Options<QuantizeInt8Options> quantize_int8_options() {
  using T = QuantizeInt8Options;
  Options<T> options;
  options
      .add("mode", &T::mode,
           "static: activations in INT8 between layers, by calibrated ranges; dynamic: weights "
           "only in INT8, activations quantized at run time; auto: measures each layer's cost and "
           "gain on this machine and keeps float what loses either, within the bounds (embedding "
           "tables are INT8 in all that it tries); weight_only: "
           "weights of linear layers and embeddings in 8 or 4 bits, for memory, not for speed")
      .one_of({"static", "dynamic", "auto", "weight_only"});
  options.splice(&T::calibration, calibration_options());
  options.splice(&T::weights, int8_weight_options());
  options
      .add("dynamic_rnn", &T::dynamic_rnn,
           "LSTM and GRU become dynamic INT8 instead of staying float")
      .only_with("mode", {"static", "auto"});
  options
      .add("diagnose", &T::diagnose,
           "measures what each layer costs the network's outputs, and its latency float and INT8, "
           "for the report; auto always does")
      .only_with("mode", {"static"});
  options.splice(&T::accuracy, accuracy_tool_options());
  options
      .add("training", &T::training, quantization_aware_training_options(),
           "train through simulated INT8 before the weights are rounded for good")
      .only_with("mode", {"static", "auto"});
  options.splice(&T::bounds, int8_bound_options());
  options.splice(&T::weight_only, weight_only_options());
  options.add("portable", &T::portable,
              "a file of plain ops that runs without an INT8 engine: as small, its outputs within "
              "rounding of the INT8 file's, but slower than float");
  options.add("include", &T::include,
              "only layers whose name matches one of these regular expressions");
  options.add("exclude", &T::exclude, "not layers whose name matches one of these");
  return options;
}

Json to_json(const std::vector<FloatIslandOp>& islands) {
  Json rows = Json::array();
  for (const FloatIslandOp& island : islands)
    rows.push_back({{"op", island.op}, {"after", island.after}});
  return rows;
}

class QuantizeInt8 : public Pass {
 public:
  explicit QuantizeInt8(const QuantizeInt8Options& options)
      : options_(options),
        filter_(options.include, options.exclude),
        bits_(choose_weight_bits(options.weights.reduce_range, options.weights.engine,
                                 has_int8_dot_products())) {
    const Int8EngineGuard is_there(options.weights.engine);
    if (options_.weight_only.bits != 4 && options_.weight_only.bits != 8) {
      throw Error(ExitCode::kRecipe, "quantize_int8: bits: found " +
                                         std::to_string(options_.weight_only.bits) +
                                         ", expected 4 or 8");
    }
    if (options_.mode == "weight_only" && options_.accuracy.rounding == "adaround") {
      throw Error(ExitCode::kRecipe, "quantize_int8: rounding: adaround is of mode static alone",
                  "mode weight_only knows nearest and gptq");
    }
    if (options.training) check_training(*options.training, "quantize_int8");
  }

  PassResult run(Model& model, PassContext& context) override {
    const Int8EngineGuard engine(options_.weights.engine);
    PassResult result;
    result.details["engine"] = int8_engine();
    result.details["weights"] =
        (bits_.largest == kFullWeightRange ? "8 bits: " : "7 bits: ") + bits_.reason;
    if (options_.mode == "dynamic") {
      const Int8Facts facts(model);
      describe(rewrite_dynamic(model), facts, result);
    } else if (options_.mode == "weight_only") {
      run_weight_only(model, context, result);
    } else {
      run_calibrated(model, context, result);
    }
    const bool has_engine = result.counts.at("layers_int8") > 0 && !options_.portable;
    if (has_engine) write_int8_record(model, result.details["layers"]);
    return result;
  }

 private:
  void run_weight_only(Model& model, PassContext& context, PassResult& result) const {
    const bool is_gptq = options_.accuracy.rounding == "gptq";
    const Int8Facts facts(model);
    const WeightOnlyResult done = quantize_weights_only(
        model, filter_, options_.weight_only, is_gptq ? context.data : nullptr, context.progress);
    result.counts["weight_bytes_before"] = static_cast<double>(done.bytes_before);
    result.counts["weight_bytes_after"] = static_cast<double>(done.bytes_after);
    describe(done.layers, facts, result);
  }

  /// Modes static and auto.
  void run_calibrated(Model& model, PassContext& context, PassResult& result) const {
    const auto data = context.data ? context.data->calibration : nullptr;
    if (!data || data->size() == 0) {
      throw Error(ExitCode::kData, "quantize_int8: the calibration set is empty",
                  "give data/calibration some samples, or use \"mode\": \"dynamic\"");
    }
    const bool is_auto = options_.mode == "auto";
    std::optional<Model> original;
    if (is_auto) original = model.clone();
    if (options_.accuracy.reestimate_batch_norms) {
      const BatchNormEstimation estimation =
          estimate_batch_norms(model, data, context.data->calibration_batch, context.progress);
      result.details["batch_norm_estimation"] = {{"batch_norms", estimation.batch_norms},
                                                 {"largest_shift", estimation.largest_shift}};
    }
    const BatchNormFolding folding = fold_batch_norms(model);
    const std::int64_t dropouts = remove_dropouts(model);
    result.changed = folding.folded > 0 || dropouts > 0;
    result.counts["batch_norms_folded"] = static_cast<double>(folding.folded);
    result.counts["calibration_samples"] = static_cast<double>(data->size());
    AccurateInt8 int8 = make_accurate_int8(
        model,
        [&](Model& network) { return make_scheme(network, *context.data, context.progress); },
        options_.accuracy, *context.data, context.progress);
    if (!int8.tools.empty()) result.details["accuracy_tools"] = to_json(int8.tools);
    const std::string trained =
        options_.training ? "; training: " + train(model, int8.scheme, context, result) : "";
    if (!is_auto) {
      rewrite_all(model, int8.scheme, context, result);
    } else if (!choose_layers(model, int8.scheme, context, result)) {
      model = std::move(*original);
      result.changed = false;
      result.counts.erase("batch_norms_folded");
      result.details.erase("accuracy_tools");
    }
    result.note += trained;
  }

  /// Says in a sentence what it came to.
  std::string train(Model& model, Int8Scheme& scheme, PassContext& context,
                    PassResult& result) const {
    const TrainResult trained =
        train_quantized(model, scheme, weight_scheme().largest, *options_.training, "quantize_int8",
                        context.with_seed_for("training"), context.load_network);
    for (const auto& [name, count] : trained.counts()) result.counts[name] = count;
    result.details["training"] = trained.curves();
    return trained.summary();
  }

  LayerRefusal refuse_excluded() const {
    return [this](const Layer& layer) {
      return filter_.accepts(layer.name) ? "" : "the recipe excludes it";
    };
  }

  Int8Scheme make_scheme(Model& model, const DataSets& data, Progress& progress) const {
    const LayerRefusal refusal = refuse_excluded();
    const Int8Plan wish = plan_static_int8(model, refusal, [](const Value*) { return true; });
    Calibration calibration(model, wish, make_observer_options(options_.calibration));
    calibration.run(data.calibration, data.calibration_batch, progress);
    Int8Scheme scheme;
    scheme.plan = plan_static_int8(
        model, refusal, [&](const Value* value) { return calibration.has_range(value); });
    for (const Value* value : scheme.plan.measured) scheme.ranges[value] = calibration.range(value);
    share_ranges_with_concatenations(scheme);
    quantize_weights(scheme, model, weight_scheme());
    return scheme;
  }

  DynamicInt8Options dynamic_options(bool has_linear) const {
    return {has_linear, weight_scheme(), options_.portable};
  }

  WeightScheme weight_scheme() const { return make_weight_scheme(options_.weights, bits_); }

  /// What another rewrite made INT8 was named float before.
  static void take_over(std::vector<Int8Layer>& layers, const std::vector<Int8Layer>& others) {
    for (const Int8Layer& layer : others) {
      const auto same = std::find_if(layers.begin(), layers.end(), [&](const Int8Layer& other) {
        return other.name == layer.name && !other.is_int8;
      });
      if (same != layers.end()) *same = layer;
    }
  }

  /// mode static: every layer that can be INT8.
  void rewrite_all(Model& model, const Int8Scheme& scheme, const PassContext& context,
                   PassResult& result) const {
    Int8Facts facts(model);
    const auto depth =
        options_.diagnose ? Int8DiagnosisDepth::kNetwork : Int8DiagnosisDepth::kLayers;
    facts.diagnose(model, scheme, *context.data, depth, context.progress);
    if (options_.diagnose && context.node_latency)
      facts.time(model, scheme, make_static(model, scheme), context.node_latency);
    result.details["float_islands"] = to_json(find_float_islands(model, scheme.plan));
    describe(rewrite(model, scheme), facts, result);
  }

  /// mode auto. False if the float network is best.
  bool choose_layers(Model& model, const Int8Scheme& scheme, const PassContext& context,
                     PassResult& result) const {
    Int8Makers makers;
    makers.make_static = [this](const Model& network, const Int8Scheme& chosen) {
      return make_static(network, chosen);
    };
    if (has_dynamic_layers(model)) {
      makers.make_dynamic = [this](const Model& network) {
        Int8Network made{network.clone(), {}, {}};
        made.layers = rewrite_dynamic(made.model);
        return made;
      };
    }
    Int8AutoResult chosen = choose_int8_layers(
        model, scheme, refuse_excluded(), makers, options_.bounds,
        {context.score, context.latency_share, context.size_share, context.node_latency},
        *context.data, context.progress);
    result.details["trials"] = std::move(chosen.trials);
    if (!chosen.best) {
      std::vector<Int8Layer> layers;
      for (const Layer& layer : find_layers(model))
        layers.push_back({layer.name, false, "the float network is best", {}, nullptr});
      describe(layers, chosen.facts, result);
    } else {
      model = std::move(chosen.best->model);
      result.details["float_islands"] = to_json(chosen.best->islands);
      describe(chosen.best->layers, chosen.facts, result);
    }
    result.note += "; auto: " + chosen.note;
    return chosen.best.has_value();
  }

  Int8Network make_static(const Model& model, const Int8Scheme& scheme) const {
    Int8Network made{model.clone(), {}, find_float_islands(model, scheme.plan)};
    made.layers = rewrite(made.model, scheme.on(made.model));
    return made;
  }

  std::vector<Int8Layer> rewrite(Model& model, const Int8Scheme& scheme) const {
    std::vector<Int8Layer> layers = options_.portable ? rewrite_portable_int8(model, scheme)
                                                      : rewrite_static_int8(model, scheme);
    if (options_.dynamic_rnn)
      take_over(layers, rewrite_dynamic_int8(model, filter_, dynamic_options(false)));
    take_over(layers, rewrite_int8_embeddings(model, refuse_excluded()));
    return layers;
  }

  std::vector<Int8Layer> rewrite_dynamic(Model& model) const {
    std::vector<Int8Layer> layers = rewrite_dynamic_int8(model, filter_, dynamic_options(true));
    take_over(layers, rewrite_int8_embeddings(model, refuse_excluded()));
    return layers;
  }

  static bool has_dynamic_layers(const Model& model) {
    const auto layers = find_layers(model);
    return std::any_of(layers.begin(), layers.end(), [](const Layer& layer) {
      return layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kLstm ||
             layer.kind == LayerKind::kGru;
    });
  }

  void describe(const std::vector<Int8Layer>& layers, const Int8Facts& facts,
                PassResult& result) const {
    const auto int8 = std::count_if(layers.begin(), layers.end(),
                                    [](const Int8Layer& layer) { return layer.is_int8; });
    const auto all = static_cast<std::int64_t>(layers.size());
    result.changed = result.changed || int8 > 0;
    result.counts["layers_int8"] = static_cast<double>(int8);
    result.counts["layers_float"] = static_cast<double>(all - int8);
    result.details["layers"] = facts.rows(layers);
    result.note = int8 > 0 ? std::to_string(int8) + " of " + std::to_string(all) +
                                 " layers in INT8 (" + options_.mode + ")"
                           : "no layer is INT8" + (layers.empty() ? "" : ": " + layers[0].reason);
  }

  QuantizeInt8Options options_;
  LayerFilter filter_;
  WeightBits bits_;
};

}  // namespace

PassSpec quantize_int8_pass() {
  PassSpec spec;
  const auto options = quantize_int8_options();
  spec.description.name = "quantize_int8";
  spec.description.summary =
      "Turn weights and activations into 8-bit integers, run by INT8 kernels";
  spec.description.options = options.table();
  spec.description.needs.float_model = true;
  spec.description.needs.makes_int8 = true;
  PassNeeds with_calibration = spec.description.needs;
  with_calibration.calibration = true;
  PassNeeds with_activations = with_calibration;
  with_activations.int8_activations = true;
  PassNeeds with_training = with_calibration;
  with_training.training = with_training.labels = true;
  PassNeeds with_teacher = with_training;
  with_teacher.labels = false;
  spec.description.when = {{"mode", "static", with_activations},
                           {"mode", "auto", with_activations},
                           {"rounding", "gptq", with_calibration},
                           {"training", nullptr, with_training},
                           {"training/alpha", 1.0, with_teacher}};
  spec.make = [options](const Json& json) {
    return std::make_unique<QuantizeInt8>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
