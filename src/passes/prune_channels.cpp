// prune_channels: removes the least important channels, with all that hangs on them.
//
//   Before   conv [16, 3, 3, 3] -> batch_norm [16] -> relu -> conv [32, 16, 3, 3] -> ...
//   After    conv [8, 3, 3, 3] -> batch_norm [8] -> relu -> conv [16, 8, 3, 3] -> ...   (ratio 0.5)
//   Applies  to every channel group that can be found (channel_groups.h): output channels of
//            convolutions and linear layers, hidden units of RNNs, heads of attention, through
//            whatever ties them. What can't be removed is named with its reason. The model becomes
//            smaller and faster; its outputs change, so fine-tune afterwards.
//   Formula  importance of a unit: the mean over its group's tensors of its norm there, each
//            divided by the group's mean norm (channel_importance.h). The least important go until
//            the target is met (channel_selection.h, latency_search.h), in one step or in several
//            with training between them (train/fine_tuning.h), or after training that makes them
//            small first (train/sparsity_training.h).
//            Li et al. 2017, "Pruning Filters for Efficient ConvNets"; Fang et al. 2023, "DepGraph:
//            Towards Any Structural Pruning".
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include "edgecompress/error.h"
#include "passes/pass.h"
#include "pruning/block_removal.h"
#include "pruning/channel_pruning.h"
#include "pruning/channel_repair.h"
#include "pruning/channel_report.h"
#include "pruning/kept_positions.h"
#include "pruning/sparsity_training.h"
#include "train/fine_tuning.h"
#include "util/random.h"

namespace edgecompress {
namespace {

constexpr double kDefaultRatio = 0.5;

struct LayerLimitsOptions {
  std::vector<std::string> layers;
  std::optional<double> max_ratio;
  std::optional<std::int64_t> minimum, round_to;
};

struct PruneChannelsOptions {
  std::optional<double> ratio, macs, parameters, latency;
  std::optional<double> depth;
  std::string criterion = "l2";
  std::string ranking = "group";
  std::string attention = "heads";
  SelectionLimits limits;
  std::vector<LayerLimitsOptions> layer_limits;
  std::optional<SparsityTrainingOptions> sparsity_training;
  std::int64_t steps = 1;
  std::optional<FineTuningOptions> fine_tuning;
  bool repair = true;
  std::vector<std::string> include, exclude;
};

const std::map<std::string, ChannelCriterion> kCriteria = {
    {"l1", ChannelCriterion::kL1},
    {"l2", ChannelCriterion::kL2},
    {"geometric_median", ChannelCriterion::kGeometricMedian},
    {"batch_norm_scale", ChannelCriterion::kBatchNormScale},
    {"activation_mean", ChannelCriterion::kActivationMean},
    {"apoz", ChannelCriterion::kApoz},
    {"taylor", ChannelCriterion::kTaylor},
    {"fisher", ChannelCriterion::kFisher},
    {"random", ChannelCriterion::kRandom}};
const std::map<std::string, ChannelRanking> kRankings = {
    {"group", ChannelRanking::kGroup},
    {"global", ChannelRanking::kGlobal},
    {"isomorphic", ChannelRanking::kIsomorphic}};

template <class V>
std::vector<std::string> names_of(const std::map<std::string, V>& values) {
  std::vector<std::string> names;
  for (const auto& [name, value] : values) names.push_back(name);
  return names;
}

Options<SelectionLimits> limits_options() {
  using T = SelectionLimits;
  Options<T> options;
  options.add("max_ratio", &T::max_ratio, "the largest share of its channels that a group loses")
      .at_least(0)
      .below(1);
  options.add("minimum", &T::minimum, "channels (or heads) of each group that stay at least")
      .at_least(1);
  options
      .add("round_to", &T::round_to,
           "groups are left with a multiple of so many channels; 8 or 16 suit most kernels")
      .at_least(1);
  return options;
}

Options<LayerLimitsOptions> layer_limits_options() {
  using T = LayerLimitsOptions;
  Options<T> options;
  options.add("layers", &T::layers, "regular expressions; one of them matches a layer of the group")
      .required();
  options.add("max_ratio", &T::max_ratio, "in place of the general one").at_least(0).below(1);
  options.add("minimum", &T::minimum, "in place of the general one").at_least(1);
  options.add("round_to", &T::round_to, "in place of the general one").at_least(1);
  return options;
}

Options<PruneChannelsOptions> prune_channels_options() {
  using T = PruneChannelsOptions;
  Options<T> options;
  options
      .add("ratio", &T::ratio,
           "share of the channels that goes; where no other target is given 0.5, or 0 with depth")
      .at_least(0)
      .below(1);
  options.add("macs", &T::macs, "instead of ratio: share of the multiply-accumulates that is left")
      .above(0)
      .at_most(1);
  options
      .add("parameters", &T::parameters, "instead of ratio: share of the parameters that is left")
      .above(0)
      .at_most(1);
  options
      .add("latency", &T::latency,
           "instead of ratio: share of the latency that is left, measured on this machine as "
           "evaluation.latency says; seconds a measurement, and another machine or run gives "
           "another network")
      .above(0)
      .at_most(1);
  options
      .add("depth", &T::depth,
           "residual blocks that go whole before any channel: below 1 a share of those that can "
           "go, else their number; the ones that change least what passes through them")
      .at_least(0);
  options
      .add("criterion", &T::criterion,
           "what makes a channel important: norms of its weights, their distance to the other "
           "channels', the scale of its batch norm, its mean activation or share of activations "
           "that are not zero, what the loss would change by without it to first order (taylor) or "
           "to second (fisher), or chance")
      .one_of(names_of(kCriteria));
  options
      .add("ranking", &T::ranking,
           "channels are ranked within their group, over all groups (by how they compare with the "
           "rest of their group; a head counts as its channels), or over groups of the same "
           "structure")
      .one_of(names_of(kRankings));
  options
      .add("attention", &T::attention,
           "attention layers lose whole heads, or the same inner channels of every head")
      .one_of({"heads", "width"});
  options.splice(&T::limits, limits_options());
  options.add("layer_limits", &T::layer_limits, layer_limits_options(),
              "other limits for groups with certain layers; the first entry that fits counts");
  options.add("sparsity_training", &T::sparsity_training, sparsity_training_options(),
              "before any channel goes: train with a pull on channels that makes them small");
  options
      .add("steps", &T::steps,
           "reach the target in so many steps, the first ones larger; each ranks anew")
      .at_least(1)
      .at_most(100);
  options.add("fine_tuning", &T::fine_tuning, fine_tuning_options(),
              "train between steps (not after the last one), as finetune does");
  options.add("repair", &T::repair,
              "after each removal, where there is calibration data: refit what is left to give the "
              "outputs of before; needs no labels");
  options.add("include", &T::include,
              "only groups with a layer whose name matches one of these regular expressions");
  options.add("exclude", &T::exclude, "not groups with a layer whose name matches one of these");
  return options;
}

void check_options(const PruneChannelsOptions& o) {
  if (o.ratio.has_value() + o.macs.has_value() + o.parameters.has_value() + o.latency.has_value() >
      1) {
    throw Error(
        ExitCode::kRecipe,
        "prune_channels: found several of ratio, macs, parameters and latency, expected one",
        "keep the one that is the target");
  }
  if (o.depth && *o.depth >= 1 && *o.depth != std::floor(*o.depth)) {
    throw Error(
        ExitCode::kRecipe,
        fmt::format("prune_channels: depth is {}, expected a share below 1 or a whole number",
                    *o.depth),
        "give 0.25 for a quarter of the residual blocks, or 2 for two of them");
  }
  check_steps("prune_channels", o.steps, o.fine_tuning);
}

ChannelTarget target_of(const PruneChannelsOptions& o) {
  if (o.macs) return {ChannelTarget::Kind::kMacs, *o.macs};
  if (o.parameters) return {ChannelTarget::Kind::kParameters, *o.parameters};
  if (o.latency) return {ChannelTarget::Kind::kLatency, *o.latency};
  return {ChannelTarget::Kind::kRatio, o.ratio.value_or(o.depth ? 0 : kDefaultRatio)};
}

ChannelPruning pruning_of(const PruneChannelsOptions& o) {
  ChannelPruning pruning;
  pruning.target = target_of(o);
  pruning.criterion = kCriteria.at(o.criterion);
  pruning.ranking = kRankings.at(o.ranking);
  pruning.unit = o.attention == "width" ? AttentionUnit::kWidth : AttentionUnit::kHeads;
  pruning.included = LayerFilter(o.include, {});
  pruning.excluded = LayerFilter({}, o.exclude);
  pruning.limits = o.limits;
  for (std::size_t i = 0; i < o.layer_limits.size(); ++i) {
    const LayerLimitsOptions& own = o.layer_limits[i];
    pruning.layer_limits.push_back(
        {LayerFilter(own.layers, {}, fmt::format("layer_limits/{}/layers", i)),
         {own.max_ratio.value_or(o.limits.max_ratio), own.minimum.value_or(o.limits.minimum),
          own.round_to.value_or(o.limits.round_to)}});
  }
  return pruning;
}

class PruneChannels : public Pass {
 public:
  explicit PruneChannels(const PruneChannelsOptions& options)
      : options_(options), pruning_(pruning_of(options)) {
    check_options(options);
  }

  PassResult run(Model& model, PassContext& context) override {
    ChannelReport report;
    ChannelPruner pruner(pruning_, context.data, context.seed, context.latency_share,
                         context.progress);
    const bool repairs = options_.repair && context.data && context.data->calibration;
    // What repair brings the outputs back to, as long as nothing trains; null: the network before
    // the next removal.
    std::shared_ptr<const Model> whole;
    KeptPositions kept;  // of it
    bool is_damaged = false;
    if (options_.depth) {
      pruner.begin(model);
      if (repairs) whole = std::make_shared<const Model>(model.clone());
      const BlockRemoval removal = remove_blocks(model, *options_.depth, pruning_.included,
                                                 pruning_.excluded, context.data, context.progress);
      is_damaged = removal.removed() > 0;
      report.add(removal, pruner.at_first());
    }
    if (options_.sparsity_training) {
      report.add(train_to_sparsity(model, *options_.sparsity_training, pruner.plan(model, 1),
                                   "prune_channels", context.with_seed_for("sparsity training")));
      whole.reset();
      is_damaged = false;
    }
    for (std::int64_t step = 1; step <= options_.steps; ++step) {
      const ChannelRemoval removal = pruner.prune(model, cubic_way(step, options_.steps));
      report.add(removal);
      if (repairs && (is_damaged || !removal.is_empty())) {
        if (!whole) whole = removal.original;
        kept.remove(removal.groups, removal.removed);
        report.add(repair_channels(model, *whole, kept, *context.data, context.progress));
        is_damaged = false;
      }
      if (!options_.fine_tuning || step == options_.steps) continue;
      report.add(fine_tune(model, *options_.fine_tuning, "prune_channels",
                           context.with_seed_for("step " + std::to_string(step))));
      whole.reset();
      kept = {};
    }
    PassResult result;
    result.changed = report.has_changed();
    result.counts = report.counts();
    result.details = report.details();
    result.note = report.note();
    return result;
  }

 private:
  PruneChannelsOptions options_;
  ChannelPruning pruning_;
};

}  // namespace

PassSpec prune_channels_pass() {
  PassSpec spec;
  const auto options = prune_channels_options();
  spec.description.name = "prune_channels";
  spec.description.summary = "Remove whole channels, heads, hidden units and residual blocks";
  spec.description.options = options.table();
  spec.description.needs.float_model = true;
  PassNeeds with_calibration = spec.description.needs;
  with_calibration.calibration = true;
  PassNeeds with_labels = spec.description.needs;
  with_labels.training = with_labels.labels = true;
  spec.description.when = {{"criterion", "activation_mean", with_calibration},
                           {"criterion", "apoz", with_calibration},
                           {"criterion", "taylor", with_labels},
                           {"criterion", "fisher", with_labels},
                           {"sparsity_training", nullptr, with_labels},
                           {"fine_tuning", nullptr, with_labels}};
  spec.make = [options](const Json& json) {
    return std::make_unique<PruneChannels>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
