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
//            the target is met (channel_selection.h).
//            Li et al. 2017, "Pruning Filters for Efficient ConvNets"; Fang et al. 2023, "DepGraph:
//            Towards Any Structural Pruning".
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "edgecompress/error.h"
#include "model/channel_costs.h"
#include "model/channel_groups.h"
#include "model/channel_importance.h"
#include "model/channel_selection.h"
#include "model/layer_filter.h"
#include "model/torch_error.h"
#include "passes/pass.h"
#include "train/measured_importance.h"

namespace edgecompress {
namespace {

constexpr double kDefaultRatio = 0.5;

struct PruneChannelsOptions {
  std::optional<double> ratio, macs, parameters;
  std::string criterion = "l2";
  std::string ranking = "group";
  std::string attention = "heads";
  double max_ratio = 0.9;
  std::int64_t minimum = 1;
  std::int64_t round_to = 1;
  std::vector<std::string> include, exclude;
};

Options<PruneChannelsOptions> prune_channels_options() {
  using T = PruneChannelsOptions;
  Options<T> options;
  options
      .add("ratio", &T::ratio,
           "share of the channels that goes; 0.5 where neither this, macs nor parameters is given")
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
      .add("criterion", &T::criterion,
           "what makes a channel important: norms of its weights, their distance to the other "
           "channels', the scale of its batch norm, its mean activation or share of activations "
           "that are not zero, what the loss would change by without it, or chance")
      .one_of({"l1", "l2", "geometric_median", "batch_norm_scale", "activation_mean", "apoz",
               "taylor", "random"});
  options
      .add("ranking", &T::ranking,
           "channels are ranked within their group, over all groups, or over groups of the same "
           "structure")
      .one_of({"group", "global", "isomorphic"});
  options
      .add("attention", &T::attention,
           "attention layers lose whole heads, or the same inner channels of every head")
      .one_of({"heads", "width"});
  options.add("max_ratio", &T::max_ratio, "the largest share of its channels that a group loses")
      .at_least(0)
      .below(1);
  options.add("minimum", &T::minimum, "channels (or heads) of each group that stay at least")
      .at_least(1);
  options
      .add("round_to", &T::round_to,
           "groups are left with a multiple of so many channels; 8 or 16 suit most kernels")
      .at_least(1);
  options.add("include", &T::include,
              "only groups with a layer whose name matches one of these regular expressions");
  options.add("exclude", &T::exclude, "not groups with a layer whose name matches one of these");
  return options;
}

void check_one_target(const PruneChannelsOptions& options) {
  if (options.ratio.has_value() + options.macs.has_value() + options.parameters.has_value() > 1) {
    throw Error(ExitCode::kRecipe,
                "prune_channels: found several of ratio, macs and parameters, expected one",
                "keep the one that is the target");
  }
}

ChannelRanking ranking_of(const std::string& name) {
  if (name == "global") return ChannelRanking::kGlobal;
  return name == "isomorphic" ? ChannelRanking::kIsomorphic : ChannelRanking::kGroup;
}

/// Whether the layers that produce a group's channels pass the filters: one of them must match
/// `include`, none may match `exclude`.
bool is_accepted(const ChannelGroup& group, const LayerFilter& included,
                 const LayerFilter& excluded) {
  bool accepted = false;
  for (const ChannelMember& member : group.members) {
    if (member.role != ChannelAxis::Role::kProduces) continue;
    accepted = accepted || included.accepts(member.layer);
    if (!excluded.accepts(member.layer)) return false;
  }
  return accepted;
}

/// What pruning must keep: the outputs of the network in which nothing reads the removed channels.
/// Throws Error(kPass) if they differ by more than 1e-3 of the largest.
void check_against_masked(const Model& pruned, const Model& masked) {
  constexpr double kTolerance = 1e-3;
  const auto inputs = masked.example_inputs(0);
  const auto expected = masked.forward(inputs);
  std::vector<at::Tensor> found;
  try {
    found = pruned.forward(inputs);
  } catch (const std::exception& error) {
    throw Error(
        ExitCode::kPass, "the pruned network does not run: " + torch_message(error),
        "this is a bug in prune_channels; `exclude` the layer that is named, and report it");
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!expected[i].is_floating_point() || expected[i].numel() == 0) continue;
    const bool same_shape = found[i].sizes() == expected[i].sizes();
    const double largest = expected[i].abs().max().item<double>();
    const double difference =
        same_shape ? (found[i] - expected[i]).abs().max().item<double>() : largest;
    if (same_shape && !(difference > kTolerance * largest)) continue;
    throw Error(ExitCode::kPass,
                fmt::format("output {} of the pruned network differs by {:.3g} (largest value "
                            "{:.3g}) from that of the network without the same channels",
                            i, difference, largest),
                "this is a bug in prune_channels; find the layer with `exclude`, and report it");
  }
}

class PruneChannels : public Pass {
 public:
  explicit PruneChannels(const PruneChannelsOptions& options)
      : options_(options), included_(options.include, {}), excluded_({}, options.exclude) {
    check_one_target(options);
  }

  PassResult run(Model& model, PassContext& context) override {
    const at::NoGradGuard no_grad;
    const AttentionUnit unit =
        options_.attention == "width" ? AttentionUnit::kWidth : AttentionUnit::kHeads;
    const ChannelGroups groups = find_channel_groups(model, unit);
    std::vector<bool> is_open;
    for (const ChannelGroup& group : groups.groups)
      is_open.push_back(is_accepted(group, included_, excluded_));

    const UnitImportance importance = importance_of(model, groups, context);
    const ChannelCosts costs(model, groups);
    const RemovalOrder order(groups, importance.scores, is_open, ranking_of(options_.ranking),
                             {options_.max_ratio, options_.minimum, options_.round_to});
    const UnitChoice removed = choose(order, costs);
    const ChannelCost before = costs.without(UnitChoice(groups.groups.size()));
    const ChannelCost after = costs.without(removed);
    PassResult result = describe(groups, is_open, importance, removed, before, after);
    if (!result.changed) return result;

    Model masked = model.clone();
    mask_channels(masked, find_channel_groups(masked, unit), removed);
    remove_channels(model, groups, removed);
    check_against_masked(model, masked);
    return result;
  }

 private:
  UnitImportance importance_of(const Model& model, const ChannelGroups& groups,
                               PassContext& context) const {
    static const std::map<std::string, WeightCriterion> kOfWeights = {
        {"l1", WeightCriterion::kL1},
        {"l2", WeightCriterion::kL2},
        {"geometric_median", WeightCriterion::kGeometricMedian},
        {"batch_norm_scale", WeightCriterion::kBatchNormScale}};
    if (options_.criterion == "random") return random_importance(groups, context.seed);
    if (options_.criterion == "taylor")
      return taylor_importance(model, groups, context.data, context.seed, context.progress);
    const auto of_weights = kOfWeights.find(options_.criterion);
    UnitImportance importance =
        of_weights != kOfWeights.end()
            ? weight_importance(model, groups, of_weights->second)
            : activation_importance(model, groups,
                                    options_.criterion == "apoz" ? ActivationCriterion::kApoz
                                                                 : ActivationCriterion::kMean,
                                    context.data, context.progress);
    // Groups that hold nothing the criterion looks at are ranked by the norms of their weights.
    const auto& known = importance.is_known;
    if (std::find(known.begin(), known.end(), false) != known.end()) {
      const UnitImportance norms = weight_importance(model, groups, WeightCriterion::kL2);
      for (std::size_t i = 0; i < known.size(); ++i) {
        if (!known[i]) importance.scores[i] = norms.scores[i];
      }
    }
    return importance;
  }

  /// The shortest beginning of the order that meets the target; all of it if none does.
  UnitChoice choose(const RemovalOrder& order, const ChannelCosts& costs) const {
    if (!options_.macs && !options_.parameters)
      return order.first(order.due_at(options_.ratio.value_or(kDefaultRatio)));
    const auto share_left = [&](std::int64_t count) { return costs.without(order.first(count)); };
    const ChannelCost whole = share_left(0);
    const auto is_met = [&](std::int64_t count) {
      const ChannelCost left = share_left(count);
      const auto within = [](std::int64_t cost, std::int64_t of, double share) {
        return static_cast<double>(cost) <= share * static_cast<double>(of);
      };
      return options_.macs ? within(left.macs, whole.macs, *options_.macs)
                           : within(left.parameters, whole.parameters, *options_.parameters);
    };
    std::int64_t too_few = -1, enough = order.units();
    while (enough - too_few > 1) {
      const std::int64_t middle = too_few + (enough - too_few) / 2;
      (is_met(middle) ? enough : too_few) = middle;
    }
    return order.first(enough);
  }

  PassResult describe(const ChannelGroups& groups, const std::vector<bool>& is_open,
                      const UnitImportance& importance, const UnitChoice& removed,
                      const ChannelCost& before, const ChannelCost& after) const {
    PassResult result;
    result.changed = std::any_of(removed.begin(), removed.end(),
                                 [](const auto& of_group) { return !of_group.empty(); });
    std::int64_t channels_before = 0, channels_after = 0;
    result.details["layers"] = Json::array();
    for (const LayerWidth& width : layer_widths(groups, removed)) {
      channels_before += width.before;
      channels_after += width.after;
      result.details["layers"].push_back(
          {{"layer", width.layer}, {"before", width.before}, {"after", width.after}});
    }
    Json left_alone = Json::array();
    for (const FixedLayer& layer : groups.fixed)
      left_alone.push_back({{"layer", layer.layer}, {"reason", layer.reason}});
    std::int64_t open = 0, unknown = 0;
    for (std::size_t i = 0; i < is_open.size(); ++i) {
      open += is_open[i];
      unknown += is_open[i] && !importance.is_known[i];
      if (is_open[i]) continue;
      left_alone.push_back(
          {{"layer", groups.groups[i].name}, {"reason", "the filters leave it out"}});
    }
    result.counts = {{"groups", static_cast<double>(open)},
                     {"layers_left_alone", static_cast<double>(left_alone.size())},
                     {"channels_before", static_cast<double>(channels_before)},
                     {"channels_after", static_cast<double>(channels_after)},
                     {"parameters_before", static_cast<double>(before.parameters)},
                     {"parameters_after", static_cast<double>(after.parameters)},
                     {"macs_before", static_cast<double>(before.macs)},
                     {"macs_after", static_cast<double>(after.macs)}};
    if (unknown > 0) result.counts["groups_ranked_by_l2"] = static_cast<double>(unknown);
    result.details["left_alone"] = std::move(left_alone);
    result.note = note(result, before, after, open);
    return result;
  }

  std::string note(const PassResult& result, const ChannelCost& before, const ChannelCost& after,
                   std::int64_t open) const {
    if (!result.changed) {
      const Json& alone = result.details.at("left_alone");
      if (open > 0) return "the target asks for no channel, or the limits let none go";
      if (alone.empty()) return "the network has no layer with output channels";
      return fmt::format("no channel can be removed: {}: {}", alone[0]["layer"].get<std::string>(),
                         alone[0]["reason"].get<std::string>());
    }
    const auto share = [](std::int64_t part, std::int64_t whole) {
      return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 100.0;
    };
    std::string text = fmt::format(
        "{:.0f} of {:.0f} channels left; {:.1f} % of the MACs, {:.1f} % of the parameters",
        result.counts.at("channels_after"), result.counts.at("channels_before"),
        share(after.macs, before.macs), share(after.parameters, before.parameters));
    const bool is_short =
        (options_.macs && share(after.macs, before.macs) > 100 * *options_.macs) ||
        (options_.parameters &&
         share(after.parameters, before.parameters) > 100 * *options_.parameters);
    if (is_short) text += "; the limits allow no less, so the target is not met";
    return text;
  }

  PruneChannelsOptions options_;
  LayerFilter included_, excluded_;
};

}  // namespace

PassSpec prune_channels_pass() {
  PassSpec spec;
  const auto options = prune_channels_options();
  spec.description.name = "prune_channels";
  spec.description.summary = "Remove whole channels, heads and hidden units";
  spec.description.options = options.table();
  spec.description.needs.float_model = true;
  PassNeeds with_calibration = spec.description.needs;
  with_calibration.calibration = true;
  PassNeeds with_labels = spec.description.needs;
  with_labels.training = with_labels.labels = true;
  spec.description.when = {{"criterion", "activation_mean", with_calibration},
                           {"criterion", "apoz", with_calibration},
                           {"criterion", "taylor", with_labels}};
  spec.make = [options](const Json& json) {
    return std::make_unique<PruneChannels>(options.bind(json));
  };
  return spec;
}

}  // namespace edgecompress
