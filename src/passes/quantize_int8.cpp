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
//   output
//            channel. Activations: affine over the range that the observer chose, see observer.h.
//            Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
//            Integer-Arithmetic-Only Inference"; Banner et al. 2019, "Post training 4-bit
//            quantization of convolutional networks for rapid-deployment".
//   Training see train/quantization_aware_training.h; the portable form: model/int8_portable.h.
#include <algorithm>
#include <map>
#include <optional>

#include "edgecompress/error.h"
#include "model/batch_norm_folding.h"
#include "model/int8_dynamic.h"
#include "model/int8_embedding.h"
#include "model/int8_engine.h"
#include "model/int8_islands.h"
#include "model/int8_portable.h"
#include "model/int8_record.h"
#include "model/int8_rewrite.h"
#include "model/layers.h"
#include "passes/pass.h"
#include "train/accuracy_tools.h"
#include "train/batch_norm_estimation.h"
#include "train/calibration.h"
#include "train/int8_auto.h"
#include "train/int8_diagnosis.h"
#include "train/int8_layer_facts.h"
#include "train/quantization_aware_training.h"
#include "train/weight_only_quantization.h"
#include "util/cpu.h"
#include "util/random.h"

namespace edgecompress {
namespace {

using torch::jit::Value;

struct QuantizeInt8Options {
  std::string mode = "static";
  std::string observer = "histogram";
  double averaging_constant = ObserverOptions{}.averaging_constant;
  double percentile = ObserverOptions{}.percentile;
  std::string activation_scheme = "affine";
  std::string weight_observer = "minmax";
  bool per_channel = true;
  bool dynamic_rnn = true;
  std::string engine = "auto";
  std::optional<bool> reduce_range;
  bool diagnose = false;
  AccuracyToolOptions accuracy;
  std::optional<QuantizationAwareTrainingOptions> training;
  Int8Bounds bounds;
  WeightOnlyOptions weight_only;
  bool portable = false;
  std::vector<std::string> include, exclude;
};

Options<Int8Bounds> bound_options() {
  using T = Int8Bounds;
  Options<T> options;
  options
      .add("max_accuracy_drop", &T::max_accuracy_drop,
           "auto: how much of the metric the float network may lose; without labels, which share "
           "of the calibration samples may change class")
      .at_least(0);
  options
      .add("min_speedup", &T::min_speedup,
           "auto: how many times faster than the float network it must be")
      .above(0);
  options
      .add("max_size_ratio", &T::max_size_ratio,
           "auto: which share of the float network's file it may take")
      .above(0);
  return options;
}

Options<QuantizeInt8Options> quantize_int8_options() {
  using T = QuantizeInt8Options;
  Options<T> options;
  options
      .add(
          "mode", &T::mode,
          "static: activations in INT8 between layers, by calibrated ranges; dynamic: weights "
          "only in INT8, activations quantized at run time; auto: measures each layer's cost and "
          "gain on this machine and keeps float what loses either, within the bounds; weight_only: "
          "weights of linear layers and embeddings in 8 or 4 bits, for memory, not for speed")
      .one_of({"static", "dynamic", "auto", "weight_only"});
  options
      .add(
          "observer", &T::observer,
          "how static ranges are chosen. minmax: all that was seen; moving_average: the average of "
          "the batches' ends; percentile: all but the farthest values; entropy: what keeps most of "
          "the distribution (least KL divergence); histogram: what loses least (least squared "
          "error)")
      .one_of({"minmax", "moving_average", "percentile", "entropy", "histogram"});
  options
      .add("averaging_constant", &T::averaging_constant,
           "of moving_average: the weight of a new batch; the first ones weigh as much as each "
           "other")
      .above(0)
      .at_most(1);
  options
      .add("percentile", &T::percentile,
           "of percentile: how many in a hundred values the range holds; half of the rest lie "
           "beyond each end")
      .above(0)
      .at_most(100);
  options
      .add("activation_scheme", &T::activation_scheme,
           "affine: zero points that fit the range; symmetric: 128, or 0 for values that are never "
           "negative")
      .one_of({"affine", "symmetric"});
  options
      .add(
          "weight_observer", &T::weight_observer,
          "what a weight's scale covers. minmax: the largest weight; mse: what loses least, larger "
          "weights are clipped (least squared error)")
      .one_of({"minmax", "mse"});
  options.add("per_channel", &T::per_channel,
              "one weight scale for each output channel instead of one a layer");
  options.add("dynamic_rnn", &T::dynamic_rnn,
              "in static mode, LSTM and GRU become dynamic INT8 instead of staying float");
  options
      .add("engine", &T::engine,
           "whose INT8 kernels the run packs weights for and measures with; auto: onednn, x86 or "
           "fbgemm on x86 CPUs, qnnpack on others. Files run on every engine: whoever loads one "
           "packs its weights anew")
      .one_of({"auto", "onednn", "qnnpack", "fbgemm", "x86"});
  options.add(
      "reduce_range", &T::reduce_range,
      "weights in 7 bits, or in all 8, with which every engine but qnnpack overflows on x86 "
      "CPUs without VNNI. Not given: 8 if engine is qnnpack, else 7, as files may run "
      "elsewhere");
  options.add("diagnose", &T::diagnose,
              "static mode: measures what each layer costs the network's outputs, and its latency "
              "float and INT8, for the report; auto always does");
  options.splice(&T::accuracy, accuracy_tool_options());
  options.add(
      "training", &T::training, quantization_aware_training_options(),
      "static and auto mode: train through simulated INT8 before the weights are rounded for "
      "good");
  options.splice(&T::bounds, bound_options());
  options.splice(&T::weight_only, weight_only_options());
  options.add("portable", &T::portable,
              "a file of plain ops that runs without an INT8 engine: as small, its outputs within "
              "rounding of the INT8 file's, but slower than float");
  options.add("include", &T::include,
              "only layers whose name matches one of these regular expressions");
  options.add("exclude", &T::exclude, "not layers whose name matches one of these");
  return options;
}

class QuantizeInt8 : public Pass {
 public:
  explicit QuantizeInt8(const QuantizeInt8Options& options)
      : options_(options),
        filter_(options.include, options.exclude),
        bits_(choose_weight_bits(options.reduce_range, options.engine, has_int8_dot_products())) {
    const Int8EngineGuard is_there(options.engine);
    if (options_.weight_only.bits != 4 && options_.weight_only.bits != 8) {
      throw Error(ExitCode::kRecipe, "quantize_int8: bits: found " +
                                         std::to_string(options_.weight_only.bits) +
                                         ", expected 4 or 8");
    }
    if (options_.mode == "weight_only" && options_.accuracy.rounding == "adaround") {
      throw Error(ExitCode::kRecipe, "quantize_int8: rounding: adaround is of mode static alone",
                  "mode weight_only knows nearest and gptq");
    }
    if (options.mode != "auto" && (options.bounds.min_speedup || options.bounds.max_size_ratio)) {
      throw Error(ExitCode::kRecipe,
                  "quantize_int8: min_speedup and max_size_ratio are bounds of mode auto",
                  "choose \"mode\": \"auto\", or give the bounds to the step's `gate`");
    }
    if (!options.training) return;
    check_training(*options.training, "quantize_int8");
    if (options.mode == "dynamic") {
      throw Error(ExitCode::kRecipe, "quantize_int8: training does nothing in mode dynamic",
                  "leave training out: before dynamic INT8, finetune trains as well");
    }
  }

  PassResult run(Model& model, PassContext& context) override {
    const Int8EngineGuard engine(options_.engine);
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
                        *context.data, derive_seed(context.seed, "training"), context.load_teacher,
                        context.score, context.progress);
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
    Calibration calibration(model, wish, observer_options());
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

  ObserverOptions observer_options() const {
    static const std::map<std::string, ObserverKind> kinds = {
        {"minmax", ObserverKind::kMinMax},
        {"moving_average", ObserverKind::kMovingAverage},
        {"percentile", ObserverKind::kPercentile},
        {"entropy", ObserverKind::kEntropy},
        {"histogram", ObserverKind::kHistogram}};
    ObserverOptions observer;
    observer.kind = kinds.at(options_.observer);
    observer.averaging_constant = options_.averaging_constant;
    observer.percentile = options_.percentile;
    observer.is_symmetric = options_.activation_scheme == "symmetric";
    return observer;
  }

  WeightScheme weight_scheme() const {
    WeightScheme scheme;
    scheme.per_channel = options_.per_channel;
    scheme.largest = bits_.largest;
    scheme.clips = options_.weight_observer == "mse";
    return scheme;
  }

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
    const DataSets& data = *context.data;
    facts.add(scheme, diagnose_int8(model, scheme, *data.calibration, data.calibration_batch,
                                    options_.diagnose ? Int8DiagnosisDepth::kNetwork
                                                      : Int8DiagnosisDepth::kLayers,
                                    context.progress));
    if (options_.diagnose && context.node_latency) {
      Int8Network all = make_static(model, scheme);
      const auto latency = context.node_latency({&model, &all.model});
      facts.add(scheme, latency.at(0), all.layers, latency.at(1));
    }
    Json islands = Json::array();
    for (const FloatIslandOp& island : find_float_islands(model, scheme.plan))
      islands.push_back({{"op", island.op}, {"after", island.after}});
    result.details["float_islands"] = std::move(islands);
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
        Int8Network made{network.clone(), {}};
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
      describe(chosen.best->layers, chosen.facts, result);
    }
    result.note += "; auto: " + chosen.note;
    return chosen.best.has_value();
  }

  Int8Network make_static(const Model& model, const Int8Scheme& scheme) const {
    Int8Network made{model.clone(), {}};
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
  PassNeeds with_training = with_calibration;
  with_training.training = with_training.labels = true;
  PassNeeds with_teacher = with_training;
  with_teacher.labels = false;
  spec.description.when = {{"mode", "static", with_calibration},
                           {"mode", "auto", with_calibration},
                           {"rounding", "gptq", with_calibration},
                           {"training", nullptr, with_training},
                           {"training/alpha", 1.0, with_teacher}};
  spec.make = [options](const Json& json) {
    return std::make_unique<QuantizeInt8>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
