#include "pruning/channel_report.h"

#include <fmt/format.h>

#include <set>

namespace edgecompress {
namespace {

/// The widths that the steps leave, against those before the first.
Json widths_after(const Json& before, const ChannelRemoval& removal) {
  Json widths = Json::array();
  for (const LayerWidth& width : layer_widths(removal.groups, removal.removed)) {
    const std::size_t row = widths.size();
    const bool is_known = row < before.size() && before[row]["layer"] == width.layer;
    widths.push_back({{"layer", width.layer},
                      {"before", is_known ? before[row]["before"] : Json(width.before)},
                      {"after", width.after}});
  }
  return widths;
}

Json layers_left_alone(const ChannelRemoval& removal) {
  Json left_alone = Json::array();
  for (const FixedLayer& layer : removal.groups.fixed)
    left_alone.push_back({{"layer", layer.layer}, {"reason", layer.reason}});
  std::set<std::string> at_fault;
  for (const FixedLayer& layer : removal.at_fault) {
    at_fault.insert(layer.layer);
    left_alone.push_back({{"layer", layer.layer}, {"reason", layer.reason}});
  }
  for (std::size_t i = 0; i < removal.is_open.size(); ++i) {
    if (removal.is_open[i] || at_fault.count(removal.groups.groups[i].name) > 0) continue;
    left_alone.push_back(
        {{"layer", removal.groups.groups[i].name}, {"reason", "the filters leave it out"}});
  }
  return left_alone;
}

std::string thrown_away(const ChannelRepair& repair) {
  if (repair.keeps_layers && repair.keeps_batch_norms) return "";
  const std::string what = repair.keeps_batch_norms ? "the reconstruction of layers was"
                           : repair.keeps_layers    ? "the new statistics of batch norms were"
                                                    : "both of its stages were";
  return " (" + what + " thrown away: the outputs came no nearer)";
}

}  // namespace

void ChannelReport::add(const BlockRemoval& removal, const ChannelCost& before) {
  has_changed_ = has_changed_ || removal.removed() > 0;
  for (const BlockRemoval::Block& block : removal.blocks) {
    details_["residual_blocks"].push_back(
        {{"block", block.name}, {"influence", block.influence}, {"removed", block.is_removed}});
  }
  details_["influence_measured_on"] = removal.measured_on;
  counts_["blocks_before"] = static_cast<double>(removal.blocks.size());
  counts_["blocks_removed"] = static_cast<double>(removal.removed());
  counts_["parameters_before"] = static_cast<double>(before.parameters);
  counts_["macs_before"] = static_cast<double>(before.macs);
}

void ChannelReport::add(const SparsityTraining& sparsity) {
  has_changed_ = has_changed_ || sparsity.training.best_epoch > 0;
  Json& details = details_["sparsity_training"] = sparsity.training.curves();
  details["share_before"] = sparsity.share_before;
  details["share_after"] = sparsity.share_after;
}

void ChannelReport::add(const ChannelRemoval& removal) {
  has_changed_ = has_changed_ || !removal.is_empty();
  details_["layers"] = widths_after(details_["layers"], removal);
  details_["left_alone"] = layers_left_alone(removal);
  for (const auto& [macs, share] : removal.latencies)
    details_["latencies"].push_back({{"macs", macs}, {"share", share}});
  count_channels(removal);
  target_note_.clear();
  if (removal.latency_share) {
    target_note_ =
        fmt::format("; {:.1f} % of the latency, as measured", 100 * *removal.latency_share);
  }
  if (!removal.is_met) target_note_ += "; the limits allow no less, so the target is not met";
}

void ChannelReport::count_channels(const ChannelRemoval& removal) {
  double channels_before = 0, channels_after = 0, open = 0, unknown = 0;
  for (const Json& layer : details_["layers"]) {
    channels_before += layer["before"].get<double>();
    channels_after += layer["after"].get<double>();
  }
  for (std::size_t i = 0; i < removal.is_open.size(); ++i) {
    open += removal.is_open[i];
    unknown += removal.is_open[i] && !removal.is_known[i];
  }
  counts_.emplace("parameters_before", static_cast<double>(removal.before.parameters));
  counts_.emplace("macs_before", static_cast<double>(removal.before.macs));
  counts_["groups"] = open;
  counts_["layers_left_alone"] = static_cast<double>(details_["left_alone"].size());
  counts_["channels_before"] = channels_before;
  counts_["channels_after"] = channels_after;
  counts_["parameters_after"] = static_cast<double>(removal.after.parameters);
  counts_["macs_after"] = static_cast<double>(removal.after.macs);
  if (removal.latency_share) counts_["latency_share"] = *removal.latency_share;
  if (unknown > 0) counts_["groups_ranked_by_l2"] = unknown;
}

void ChannelReport::add(const ChannelRepair& repair) {
  details_["repair"].push_back({{"layers", repair.layers},
                                {"batch_norms", repair.batch_norms},
                                {"keeps_layers", repair.keeps_layers},
                                {"keeps_batch_norms", repair.keeps_batch_norms},
                                {"error_before", repair.error_before},
                                {"error_after", repair.error_after}});
  details_["not_repaired"] = repair.notes;
  repair_note_ = fmt::format("; repair took the error of the outputs from {:.3g} to {:.3g}",
                             repair.error_before, repair.error_after) +
                 thrown_away(repair);
}

void ChannelReport::add(const TrainResult& training) {
  has_changed_ = has_changed_ || training.best_epoch > 0;
  details_["fine_tuning"].push_back(training.curves());
}

std::string ChannelReport::note() const {
  return blocks_note() + (has_changed_ ? channels_note() : why_unchanged()) + target_note_ +
         repair_note_;
}

std::string ChannelReport::blocks_note() const {
  const auto blocks = counts_.find("blocks_before");
  if (blocks == counts_.end()) return "";
  return fmt::format("{:.0f} of {:.0f} residual blocks removed; ", counts_.at("blocks_removed"),
                     blocks->second);
}

std::string ChannelReport::channels_note() const {
  const auto percent_left = [&](const std::string& cost) {
    const double before = counts_.at(cost + "_before");
    return before > 0 ? 100 * counts_.at(cost + "_after") / before : 100;
  };
  return fmt::format(
      "{:.0f} of {:.0f} channels left; {:.1f} % of the MACs, {:.1f} % of the parameters",
      counts_.at("channels_after"), counts_.at("channels_before"), percent_left("macs"),
      percent_left("parameters"));
}

std::string ChannelReport::why_unchanged() const {
  const Json& alone = details_.at("left_alone");
  if (counts_.at("groups") > 0) return "the target asks for no channel, or the limits let none go";
  if (alone.empty()) return "the network has no layer with output channels";
  return fmt::format("no channel can be removed: {}: {}", alone[0]["layer"].get<std::string>(),
                     alone[0]["reason"].get<std::string>());
}

}  // namespace edgecompress
