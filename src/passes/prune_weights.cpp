// prune_weights: sets the smallest weights to zero.
//
//   Before   w = [0.7, -0.1, 0.4, 0.02]
//   After    w = [0.7, 0, 0.4, 0]           (ratio 0.5)
//   Applies  to weight matrices of convolutions, linear layers and RNNs whose name the filters
//            accept; never to biases or norms. Zeros cost as much to store and run as other
//            weights: what shrinks is the compressed file.
//   Formula  layer:     of n weights the round(ratio n) smallest |w| become 0, ties by index
//            global:    the same over all layers together
//            threshold: |w| < threshold becomes 0
//            Han et al. 2015, "Learning both Weights and Connections for Efficient Neural
//            Networks".
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "edgecompress/error.h"
#include "model/layer_filter.h"
#include "model/layers.h"
#include "passes/pass.h"

namespace edgecompress {
namespace {

struct PruneWeightsOptions {
  double ratio = 0.5;
  std::optional<double> threshold;
  std::string scope = "layer";
  std::vector<std::string> include, exclude;
};

Options<PruneWeightsOptions> prune_weights_options() {
  Options<PruneWeightsOptions> options;
  options.add("ratio", &PruneWeightsOptions::ratio, "share of the weights that is zero afterwards")
      .at_least(0)
      .below(1);
  options
      .add("threshold", &PruneWeightsOptions::threshold,
           "instead of ratio: zero every |w| below this")
      .above(0);
  options
      .add("scope", &PruneWeightsOptions::scope,
           "rank the weights within each layer or over all of them")
      .one_of({"layer", "global"});
  options.add("include", &PruneWeightsOptions::include,
              "only layers whose name matches one of these regular expressions");
  options.add("exclude", &PruneWeightsOptions::exclude,
              "not layers whose name matches one of these");
  return options;
}

/// What is pruned: every |w| below `magnitude`, and the first `ties` of those equal to it.
struct Cut {
  float magnitude = 0;
  std::int64_t ties = 0;
};

struct PrunedWeight {
  std::string layer, weight;
  at::Tensor tensor;  // float32, contiguous, a copy
  std::int64_t zeros_before = 0, zeros_after = 0;
};

std::vector<PrunedWeight> find_prunable(Model& model, const LayerFilter& filter) {
  std::vector<PrunedWeight> targets;
  std::set<std::string> seen;  // shared weights are one
  const auto add = [&](const Layer& layer, const std::string& weight) {
    if (!seen.insert(weight).second) return;
    const c10::IValue value = model.attribute(weight);
    if (!value.isTensor() || !value.toTensor().is_floating_point() || value.toTensor().dim() < 2)
      return;
    const at::Tensor copy = value.toTensor().detach().to(at::kFloat, false, true).contiguous();
    if (!at::isfinite(copy).all().item<bool>()) {
      throw Error(ExitCode::kPass, "'" + weight + "' holds values that are not finite",
                  "the weights of the model are damaged; nothing can be ranked");
    }
    targets.push_back({layer.name, weight, copy});
  };
  for (const Layer& layer : find_layers(model)) {
    if (!filter.accepts(layer.name)) continue;
    const bool is_rnn = layer.kind == LayerKind::kLstm || layer.kind == LayerKind::kGru ||
                        layer.kind == LayerKind::kRnn;
    const bool is_plain = layer.kind == LayerKind::kConv || layer.kind == LayerKind::kLinear ||
                          layer.kind == LayerKind::kConvTransposed;
    if (is_rnn) {
      for (const std::string& weight : layer.weights) add(layer, weight);
    } else if (is_plain && layer.weight) {
      add(layer, *layer.weight);
    }
  }
  return targets;
}

/// The cut that takes the round(ratio n) smallest magnitudes of targets [first, last).
Cut cut_at_ratio(const std::vector<PrunedWeight>& targets, std::size_t first, std::size_t last,
                 double ratio) {
  std::vector<float> magnitudes;
  for (std::size_t i = first; i < last; ++i) {
    const at::Tensor& tensor = targets[i].tensor;
    const float* values = tensor.data_ptr<float>();
    for (std::int64_t j = 0; j < tensor.numel(); ++j) magnitudes.push_back(std::abs(values[j]));
  }
  const auto count =
      static_cast<std::size_t>(std::llround(ratio * static_cast<double>(magnitudes.size())));
  if (count == 0) return {};
  const auto last_pruned = magnitudes.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(magnitudes.begin(), last_pruned, magnitudes.end());
  const float magnitude = *last_pruned;
  const auto below =
      std::count_if(magnitudes.begin(), last_pruned, [&](float m) { return m < magnitude; });
  return {magnitude, static_cast<std::int64_t>(count) - below};
}

/// Applies the cut; `cut.ties` counts down, so that ties go by index over several targets too.
void prune(PrunedWeight& target, Cut& cut) {
  float* values = target.tensor.data_ptr<float>();
  for (std::int64_t i = 0; i < target.tensor.numel(); ++i) {
    const float magnitude = std::abs(values[i]);
    if (magnitude == 0) ++target.zeros_before;
    if (magnitude < cut.magnitude || (magnitude == cut.magnitude && cut.ties-- > 0)) values[i] = 0;
    if (values[i] == 0) ++target.zeros_after;
  }
}

class PruneWeights : public Pass {
 public:
  explicit PruneWeights(const PruneWeightsOptions& options)
      : options_(options), filter_(options.include, options.exclude) {}

  PassResult run(Model& model, PassContext& context) override {
    std::vector<PrunedWeight> targets = find_prunable(model, filter_);
    if (context.progress)
      context.progress->begin("prune", static_cast<std::int64_t>(targets.size()));
    const bool is_global = options_.scope == "global" && !options_.threshold;
    Cut cut;
    if (is_global) cut = cut_at_ratio(targets, 0, targets.size(), options_.ratio);
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (options_.threshold) {
        cut = {static_cast<float>(*options_.threshold), 0};
      } else if (!is_global) {
        cut = cut_at_ratio(targets, i, i + 1, options_.ratio);
      }
      prune(targets[i], cut);
      if (context.progress) context.progress->advance();
    }
    if (context.progress) context.progress->end();
    return store(model, targets);
  }

 private:
  static PassResult store(Model& model, const std::vector<PrunedWeight>& targets) {
    PassResult result;
    std::int64_t weights = 0, zeros = 0, pruned = 0;
    Json layers = Json::array();
    for (const PrunedWeight& target : targets) {
      const std::int64_t size = target.tensor.numel();
      weights += size;
      zeros += target.zeros_after;
      pruned += target.zeros_after - target.zeros_before;
      layers.push_back({{"layer", target.layer},
                        {"weight", target.weight},
                        {"sparsity", static_cast<double>(target.zeros_after) /
                                         static_cast<double>(std::max<std::int64_t>(size, 1))}});
      if (target.zeros_after == target.zeros_before) continue;
      const at::Tensor original = model.tensor(target.weight).detach();
      model.set_tensor(target.weight, original.masked_fill(target.tensor == 0, 0));
    }
    result.changed = pruned > 0;
    const double sparsity =
        weights > 0 ? static_cast<double>(zeros) / static_cast<double>(weights) : 0;
    result.counts = {{"layers", static_cast<double>(targets.size())},
                     {"pruned", static_cast<double>(pruned)},
                     {"sparsity", sparsity}};
    result.details["layers"] = std::move(layers);
    if (targets.empty()) {
      result.note = "no layer with weights passes the filters";
    } else if (pruned == 0) {
      result.note = "as many weights are zero already";
    } else {
      result.note = std::to_string(pruned) + " of " + std::to_string(weights) +
                    " weights set to zero; zeros are stored like other weights, so only the zipped "
                    "size shrinks";
    }
    return result;
  }

  PruneWeightsOptions options_;
  LayerFilter filter_;
};

}  // namespace

PassSpec prune_weights_pass() {
  PassSpec spec;
  const auto options = prune_weights_options();
  spec.description.name = "prune_weights";
  spec.description.summary = "Set the weights of smallest magnitude to zero";
  spec.description.options = options.table();
  spec.description.needs.float_model = true;
  spec.make = [options](const Json& json) {
    return std::make_unique<PruneWeights>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
