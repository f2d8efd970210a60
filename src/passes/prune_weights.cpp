// prune_weights: sets the weights that matter least to zero.
//
//   Before   w = [0.7, -0.1, 0.4, 0.02]
//   After    w = [0.7, 0, 0.4, 0]           (ratio 0.5)
//   Applies  to weight matrices of convolutions, linear layers and RNNs whose name the filters
//            accept; never to biases or norms. Zeros cost as much to store and run as other
//            weights: what shrinks is the compressed file.
//   Formula  allocation: each layer's share s_l of zeros, so that the overall share is `ratio`.
//                        uniform: the same; global: what is below one magnitude; sensitivity: of
//                        least sum_l D_l(s_l), D_l being the measured change of the outputs when
//                        layer l is pruned alone (train/sparsity_allocation.h).
//                        threshold: the share of |w| below it instead
//            criterion:  which weights go, by |w|, |w| ||x|| or the error that going causes
//                        (magnitude, wanda, sparsegpt: train/weight_pruning.h)
//            pattern:    which weights go together (unstructured, n:m, block:
//                        model/sparsity_pattern.h)
//            steps:      after step t of T, the share is s_t = s (1 - (1 - t / T)^3), with
//                        fine-tuning between steps (train/fine_tuning.h); n:m goes from m:m to
//                        n:m the same way
//            Magnitudes: Han et al. 2015, "Learning both Weights and Connections for Efficient
//            Neural Networks".
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "edgecompress/error.h"
#include "passes/pass.h"
#include "pruning/sparsity_allocation.h"
#include "pruning/weight_pruning.h"
#include "train/fine_tuning.h"
#include "util/random.h"

namespace edgecompress {
namespace {

struct PruneWeightsOptions {
  double ratio = 0.5;
  std::optional<double> threshold;
  std::string allocation = "uniform", criterion = "magnitude", pattern = "unstructured";
  std::int64_t n = 2, m = 4;
  std::vector<std::int64_t> block = {4, 1};
  std::int64_t steps = 1;
  std::optional<FineTuningOptions> fine_tuning;
  std::vector<std::string> include, exclude;
};

Options<PruneWeightsOptions> prune_weights_options() {
  using T = PruneWeightsOptions;
  Options<T> o;
  o.add("ratio", &T::ratio, "share of the weights that is zero afterwards; n:m has its own")
      .at_least(0)
      .below(1);
  o.add("threshold", &T::threshold, "instead of ratio: zero every |w| below this").above(0);
  o.add("allocation", &T::allocation,
        "the same share of every layer; what each layer has below one magnitude for all; or by the "
        "measured damage that pruning each layer does to the outputs")
      .one_of({"uniform", "global", "sensitivity"});
  o.add("criterion", &T::criterion,
        "what goes first: the smallest weights; the smallest products of weight and input norm; or "
        "what the rest of the row can make up for best, which then changes too")
      .one_of({"magnitude", "wanda", "sparsegpt"});
  o.add("pattern", &T::pattern,
        "what goes together: nothing; n:m keeps at most n of each m weights along the inputs of a "
        "row (of a convolution: along the input channels of one kernel position, as 2:4 kernels "
        "read them); blocks go whole")
      .one_of({"unstructured", "n:m", "block"});
  o.add("n", &T::n, "weights that stay of each m")
      .at_least(1)
      .at_most(64)
      .only_with("pattern", {"n:m"});
  o.add("m", &T::m, "weights in a group").at_least(1).at_most(64).only_with("pattern", {"n:m"});
  o.add("block", &T::block,
        "[rows, columns], output channels by input channels of one kernel position")
      .at_least(1)
      .at_most(4096)
      .only_with("pattern", {"block"});
  o.add("steps", &T::steps, "reach the ratio in so many steps, the first ones larger")
      .at_least(1)
      .at_most(100);
  o.add("fine_tuning", &T::fine_tuning, fine_tuning_options(),
        "train between steps (not after the last one), as finetune does");
  o.add("include", &T::include, "only layers whose name matches one of these regular expressions");
  o.add("exclude", &T::exclude, "not layers whose name matches one of these");
  return o;
}

void check_options(const PruneWeightsOptions& o) {
  const auto refuse = [](const std::string& what, const std::string& hint) {
    throw Error(ExitCode::kRecipe, "prune_weights: " + what, hint);
  };
  if (o.block.size() != 2)
    refuse(fmt::format("block: found {} numbers, expected 2", o.block.size()),
           "give [rows, columns], such as [4, 1]");
  if (o.pattern == "n:m" && o.n > o.m)
    refuse(fmt::format("n: found {}, expected at most m ({})", o.n, o.m), "2:4 is n 2, m 4");
  if (o.pattern == "n:m" && o.allocation != "uniform")
    refuse("allocation " + o.allocation + " with pattern n:m, which leaves every layer the same",
           "leave allocation away");
  if (o.threshold &&
      (o.pattern != "unstructured" || o.allocation != "uniform" || o.criterion != "magnitude"))
    refuse("threshold is of single magnitudes, with no other criterion, pattern or allocation",
           "give ratio instead");
  if (o.pattern == "block" && o.criterion == "sparsegpt")
    refuse("criterion sparsegpt has no block pattern", "use magnitude or wanda");
  check_steps("prune_weights", o.steps, o.fine_tuning);
}

class PruneWeights : public Pass {
 public:
  explicit PruneWeights(const PruneWeightsOptions& options)
      : options_(options), filter_(options.include, options.exclude) {
    check_options(options_);
    if (options_.criterion == "wanda") pruning_.criterion = PruneCriterion::kWanda;
    if (options_.criterion == "sparsegpt") pruning_.criterion = PruneCriterion::kSparseGpt;
    pruning_.pattern = {SparsityPattern::Kind::kUnstructured, options_.n, options_.m,
                        options_.block[0], options_.block[1]};
    if (options_.pattern == "n:m") pruning_.pattern.kind = SparsityPattern::Kind::kNOfM;
    if (options_.pattern == "block") pruning_.pattern.kind = SparsityPattern::Kind::kBlock;
  }

  PassResult run(Model& model, PassContext& context) override {
    const std::vector<PrunableWeight> weights = find_prunable_weights(model, filter_);
    PassResult result;
    if (weights.empty()) {
      result.note = "no layer with weights passes the filters";
      return result;
    }
    std::vector<at::Tensor> originals;
    for (const PrunableWeight& weight : weights)
      originals.push_back(model.tensor(weight.weight).detach().clone());
    for (std::int64_t step = 1; step <= options_.steps; ++step) {
      prune_to(model, weights, cubic_way(step, options_.steps), context, result);
      if (!options_.fine_tuning || step == options_.steps) continue;
      const TrainResult trained = fine_tune(model, *options_.fine_tuning, "prune_weights",
                                            context.with_seed_for("step " + std::to_string(step)));
      result.changed = result.changed || trained.best_epoch > 0;
      result.details["fine_tuning"].push_back(trained.curves());
    }
    describe(model, weights, originals, result);
    return result;
  }

 private:
  /// `progress` in (0, 1]: the part of the whole pruning that is done afterwards.
  void prune_to(Model& model, const std::vector<PrunableWeight>& weights, double progress,
                PassContext& context, PassResult& result) const {
    WeightPruning pruning = pruning_;
    const std::int64_t spare = pruning_.pattern.m - pruning_.pattern.n;
    pruning.pattern.n = pruning_.pattern.m - std::llround(progress * static_cast<double>(spare));
    const std::vector<double> shares = allocate(model, weights, progress, context, result);
    const std::vector<std::string> notes =
        pruning.apply(model, weights, shares, context.data, context.progress);
    if (!notes.empty()) result.details["other_criterion"] = notes;
  }

  std::vector<double> allocate(Model& model, const std::vector<PrunableWeight>& weights,
                               double progress, PassContext& context, PassResult& result) const {
    const double ratio = options_.ratio * progress;
    if (options_.threshold) {
      std::vector<double> shares = threshold_shares(model, weights, *options_.threshold);
      for (double& share : shares) share *= progress;
      return shares;
    }
    if (options_.allocation == "global") return global_shares(model, weights, ratio);
    if (options_.allocation == "uniform") return std::vector<double>(weights.size(), ratio);
    const SensitivityAllocation allocation =
        allocate_by_sensitivity(model, weights, ratio, pruning_, context.data, context.progress);
    result.details["sensitivity"] = {{"damage", allocation.measured},
                                     {"all_layers", allocation.damage},
                                     {"all_layers_uniform", allocation.uniform_damage},
                                     {"way_from_uniform", allocation.way}};
    return allocation.shares;
  }

  void describe(const Model& model, const std::vector<PrunableWeight>& weights,
                const std::vector<at::Tensor>& originals, PassResult& result) const {
    std::int64_t all = 0, zeros = 0, zeros_before = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const at::Tensor weight = model.tensor(weights[i].weight).detach();
      const std::int64_t size = weights[i].size(), own = weight.eq(0).sum().item<std::int64_t>();
      all += size;
      zeros += own;
      zeros_before += originals[i].eq(0).sum().item<std::int64_t>();
      result.changed = result.changed || !weight.equal(originals[i]);
      result.details["layers"].push_back(
          {{"layer", weights[i].layer},
           {"weight", weights[i].weight},
           {"sparsity", static_cast<double>(own) / static_cast<double>(size)}});
    }
    result.counts = {{"layers", static_cast<double>(weights.size())},
                     {"pruned", static_cast<double>(zeros - zeros_before)},
                     {"sparsity", static_cast<double>(zeros) / static_cast<double>(all)}};
    result.note =
        result.changed
            ? fmt::format(
                  "{} of {} weights set to zero ({}, {}); zeros are stored like "
                  "other weights, so only the zipped size shrinks",
                  zeros - zeros_before, all, options_.criterion, pruning_.pattern.to_string())
            : "as many weights are zero already";
  }

  PruneWeightsOptions options_;
  LayerFilter filter_;
  WeightPruning pruning_;
};

}  // namespace

PassSpec prune_weights_pass() {
  PassSpec spec;
  const auto options = prune_weights_options();
  spec.description.name = "prune_weights";
  spec.description.summary = "Set the weights that matter least to zero";
  spec.description.options = options.table();
  spec.description.needs.float_model = true;
  PassNeeds calibrated = spec.description.needs, trained = spec.description.needs;
  calibrated.calibration = true;
  trained.training = trained.labels = true;
  spec.description.when = {{"criterion", "wanda", calibrated},
                           {"criterion", "sparsegpt", calibrated},
                           {"allocation", "sensitivity", calibrated},
                           {"fine_tuning", nullptr, trained}};
  spec.make = [options](const Json& json) {
    return std::make_unique<PruneWeights>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
