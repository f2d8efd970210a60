// low_rank: makes layers two of low rank, where that is cheaper.
//
//   Before   x -> conv(w [64, 64, 3, 3]) -> y
//   After    x -> conv(w0 [44, 64, 3, 1]) -> conv(w1 [64, 44, 1, 3]) -> y    (spatial)
//            x -> conv(w0 [20, 64, 3, 3]) -> conv(w1 [64, 20, 1, 1]) -> y    (channel)
//   Applies  to linear layers and convolutions of 1 to 3 dimensions, any stride, padding, dilation
//            and groups; spatial to 2-D ones with kernels of several rows and columns. What stays
//            is named with its reason: transposed convolutions, RNNs, tied and pruned weights, and
//            what would become no cheaper in multiply-accumulates and in parameters. The outputs
//            change, so fine-tune afterwards; later passes see two layers, NAME.0 and NAME.1.
//   Formula  the first r singular vectors of W C^1/2, C being the second moments of the layer's
//            inputs where there is calibration data, else I (low_rank/low_rank_approximation.h);
//            ranks by budget: low_rank/rank_choice.h.
//            Jaderberg et al. 2014, "Speeding up Convolutional Neural Networks with Low Rank
//            Expansions"; Zhang et al. 2016, "Accelerating Very Deep Convolutional Networks for
//            Classification and Detection".
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <optional>

#include "edgecompress/error.h"
#include "low_rank/low_rank_factorization.h"
#include "passes/pass.h"

namespace edgecompress {
namespace {

constexpr double kDefaultMacs = 0.5;

struct LowRankOptions {
  std::optional<double> rank, energy, macs, parameters;
  std::string scheme = "auto";
  std::int64_t round_to = 1;
  bool data_aware = true, factor_pruned = false;
  std::vector<std::string> include, exclude;
};

Options<LowRankOptions> low_rank_options() {
  using T = LowRankOptions;
  Options<T> o;
  o.add("macs", &T::macs,
        "share of the network's multiply-accumulates that is left, layers with little to lose "
        "first; where no other target is given 0.5")
      .above(0)
      .below(1);
  o.add("parameters", &T::parameters, "instead of macs: share of the parameters that is left")
      .above(0)
      .below(1);
  o.add("energy", &T::energy,
        "instead of macs: share of the energy of each layer's outputs (without calibration data: "
        "of its weights) that is kept")
      .above(0)
      .below(1);
  o.add("rank", &T::rank,
        "instead of macs: channels between the two layers of each group; below 1 a share of the "
        "full rank")
      .above(0);
  o.add("scheme", &T::scheme,
        "channel: the kernel with fewer channels, then 1x1; spatial: the kernel's rows, then its "
        "columns, where a 2-D kernel has several of both; auto: for each layer whichever loses "
        "least for what it saves")
      .one_of({"auto", "channel", "spatial"});
  o.add("round_to", &T::round_to,
        "channels between the two layers are a multiple of it; 8 or 16 suit most kernels")
      .at_least(1)
      .at_most(4096);
  o.add("data_aware", &T::data_aware,
        "where there is calibration data: keep the layers' outputs and not their weights, spend a "
        "budget where the network's outputs change least, and fit what is left to give the outputs "
        "of before; needs no labels");
  o.add("factor_pruned", &T::factor_pruned,
        "also weights of which more than 5 % are zero, and no longer are afterwards");
  o.add("include", &T::include, "only layers whose name matches one of these regular expressions");
  o.add("exclude", &T::exclude, "not layers whose name matches one of these");
  return o;
}

void check_options(const LowRankOptions& o) {
  if (o.rank.has_value() + o.energy.has_value() + o.macs.has_value() + o.parameters.has_value() >
      1) {
    throw Error(ExitCode::kRecipe,
                "low_rank: found several of rank, energy, macs and parameters, expected one",
                "keep the one that is the target");
  }
  if (o.rank && *o.rank >= 1 && *o.rank != std::floor(*o.rank)) {
    throw Error(
        ExitCode::kRecipe,
        fmt::format("low_rank: rank is {}, expected a share below 1 or a whole number", *o.rank),
        "give 0.25 for a quarter of the full rank, or 16 for sixteen channels");
  }
}

LowRankTarget target_of(const LowRankOptions& o) {
  if (o.rank) return {LowRankTarget::Kind::kRank, *o.rank};
  if (o.energy) return {LowRankTarget::Kind::kEnergy, *o.energy};
  if (o.parameters) return {LowRankTarget::Kind::kParameters, *o.parameters};
  return {LowRankTarget::Kind::kMacs, o.macs.value_or(kDefaultMacs)};
}

LowRankFactorization factorization_of(const LowRankOptions& o) {
  LowRankFactorization factorization;
  factorization.target = target_of(o);
  if (o.scheme == "channel") factorization.rules.scheme = FactorScheme::kChannel;
  if (o.scheme == "spatial") factorization.rules.scheme = FactorScheme::kSpatial;
  factorization.rules.takes_pruned = o.factor_pruned;
  factorization.rules.filter = LayerFilter(o.include, o.exclude);
  factorization.round_to = o.round_to;
  return factorization;
}

Json row_of(const FactoredLayer& layer) {
  return {{"layer", layer.layer},
          {"scheme", to_string(layer.scheme)},
          {"energy_of", layer.is_data_aware ? "outputs" : "weights"},
          {"rank", layer.rank},
          {"full_rank", layer.full_rank},
          {"energy_kept", layer.energy_kept},
          {"sqnr_db", layer.sqnr_db ? Json(*layer.sqnr_db) : Json()},
          {"macs_before", layer.before.macs},
          {"macs_after", layer.after.macs},
          {"parameters_before", layer.before.parameters},
          {"parameters_after", layer.after.parameters}};
}

double share_left(std::int64_t after, std::int64_t before) {
  return before > 0 ? static_cast<double>(after) / static_cast<double>(before) : 1;
}

class LowRank : public Pass {
 public:
  explicit LowRank(const LowRankOptions& options)
      : uses_data_(options.data_aware), factorization_(factorization_of(options)) {
    check_options(options);
  }

  PassResult run(Model& model, PassContext& context) override {
    const LowRankResult found =
        factorization_.apply(model, uses_data_ ? context.data : nullptr, context.progress);
    PassResult result;
    result.changed = !found.layers.empty();
    result.counts = {{"layers", static_cast<double>(found.layers.size())},
                     {"layers_left_alone", static_cast<double>(found.left.size())},
                     {"macs_before", static_cast<double>(found.before.macs)},
                     {"macs_after", static_cast<double>(found.after.macs)},
                     {"parameters_before", static_cast<double>(found.before.parameters)},
                     {"parameters_after", static_cast<double>(found.after.parameters)}};
    for (const FactoredLayer& layer : found.layers)
      result.details["layers"].push_back(row_of(layer));
    for (const LayerLeft& layer : found.left) {
      result.details["left_alone"].push_back({{"layer", layer.layer}, {"reason", layer.reason}});
    }
    if (found.repair) describe_repair(*found.repair, result);
    result.note = note_on(found);
    return result;
  }

 private:
  static void describe_repair(const ChannelRepair& repair, PassResult& result) {
    result.details["repair"].push_back({{"layers", repair.layers},
                                        {"batch_norms", repair.batch_norms},
                                        {"keeps_layers", repair.keeps_layers},
                                        {"keeps_batch_norms", repair.keeps_batch_norms},
                                        {"error_before", repair.error_before},
                                        {"error_after", repair.error_after}});
    if (!repair.notes.empty()) result.details["not_repaired"] = repair.notes;
  }

  static std::string note_on(const LowRankResult& found) {
    if (found.layers.empty()) {
      return found.left.empty() ? "no convolution or linear layer passes the filters"
                                : "no layer became two; " + found.left.front().layer + ": " +
                                      found.left.front().reason;
    }
    std::string note = fmt::format(
        "{} of {} layers became two each; {:.1f} % of the MACs, {:.1f} % of the parameters left",
        found.layers.size(), found.layers.size() + found.left.size(),
        100 * share_left(found.after.macs, found.before.macs),
        100 * share_left(found.after.parameters, found.before.parameters));
    if (!found.is_met) note += "; the lowest ranks give no less, so the target is not met";
    if (found.repair) {
      note += fmt::format("; repair took the error of the outputs from {:.3g} to {:.3g}",
                          found.repair->error_before, found.repair->error_after);
    }
    return note;
  }

  bool uses_data_;
  LowRankFactorization factorization_;
};

}  // namespace

PassSpec low_rank_pass() {
  PassSpec spec;
  const auto options = low_rank_options();
  spec.description.name = "low_rank";
  spec.description.summary = "Make linear layers and convolutions two of low rank each";
  spec.description.options = options.table();
  spec.description.needs.float_model = true;
  spec.make = [options](const Json& json) { return std::make_unique<LowRank>(options.bind(json)); };
  return spec;
}

}  // namespace edgecompress
