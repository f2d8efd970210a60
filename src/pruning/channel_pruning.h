// Removing channels from a network until a target is met, in one step or several.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "channels/channel_costs.h"
#include "channels/channel_groups.h"
#include "channels/channel_importance.h"
#include "channels/channel_selection.h"
#include "data/dataset.h"
#include "model/layer_filter.h"
#include "util/progress.h"

namespace edgecompress {

/// What makes a channel important: channel_importance.h and derivative_importance.h tell what
/// each one measures.
enum class ChannelCriterion {
  kL1,
  kL2,
  kGeometricMedian,
  kBatchNormScale,
  kActivationMean,
  kApoz,
  kTaylor,
  kFisher,
  kRandom
};

struct ChannelTarget {
  enum class Kind {
    kRatio,       ///< share of the units that goes
    kMacs,        ///< share of the multiply-accumulates that is left
    kParameters,  ///< share of the parameters that is left
    kLatency      ///< share of the measured latency that is left
  };
  Kind kind = Kind::kRatio;
  double value = 0.5;

  /// What is asked for after `way` in (0, 1] of the way.
  double after(double way) const;
};

/// Limits of groups with a layer whose name `layers` accepts.
struct LayerLimits {
  LayerFilter layers;
  SelectionLimits limits;
};

struct ChannelPruning {
  ChannelTarget target;
  ChannelCriterion criterion = ChannelCriterion::kL2;
  ChannelRanking ranking = ChannelRanking::kGroup;
  AttentionUnit unit = AttentionUnit::kHeads;
  /// A group is pruned if one of the layers that produce its channels passes the first filter, and
  /// none fails the second.
  LayerFilter included = {{}, {}}, excluded = {{}, {}};
  SelectionLimits limits;
  std::vector<LayerLimits> layer_limits;  ///< in place of `limits`; the first that fits counts
};

struct ChannelRemoval {
  std::shared_ptr<const Model> original;  ///< as it was before; null where nothing goes
  ChannelGroups groups;                   ///< of that model
  std::vector<bool> is_open;              ///< the groups that may lose units
  std::vector<FixedLayer> at_fault;       ///< groups that had to be left alone, by name
  std::vector<bool> is_known;             ///< the groups that the criterion tells something of
  UnitChoice removed;
  ChannelCost before, after;
  std::optional<double> latency_share;  ///< that is left, where it is the target
  /// What was measured on the way to it: MACs of a network, its share of the latency.
  std::vector<std::pair<std::int64_t, double>> latencies;
  bool is_met = true;  ///< false: the limits allow no less

  bool is_empty() const;
};

/// Takes one model to the target.
class ChannelPruner {
 public:
  /// `data` as the criterion needs it. `latency_share` measures a network against what the model
  /// was at first; without it a target of latency throws Error(kPass).
  ChannelPruner(ChannelPruning pruning, const DataSets* data, std::uint64_t seed,
                std::function<double(const Model&)> latency_share, Progress& progress);

  /// What shares and limits count from; if it is not called, the model of the first call below.
  void begin(const Model& model);
  const ChannelCost& at_first() const { return at_first_; }

  /// What prune() would remove, unchecked; `original` is not set.
  ChannelRemoval plan(const Model& model, double way);
  /// Removes what brings the model `way` in (0, 1] of the way to the target; each call goes further
  /// than the one before. The result is checked against the network that masks the same channels;
  /// groups by which it differs are left alone. Throws Error(kPass) if it isn't the fault of any
  /// one.
  ChannelRemoval prune(Model& model, double way);

 private:
  void find_faults(const Model& model, const UnitChoice& removed, const std::string& fault);
  void note_beginning(const ChannelGroups& groups, const ChannelCosts& costs);
  UnitImportance importance_of(const Model& model, const ChannelGroups& groups) const;
  bool is_open(const ChannelGroup& group) const;
  GroupLimits limits_of(const ChannelGroup& group) const;
  void choose(const Model& model, const RemovalOrder& order, const ChannelCosts& costs, double way,
              ChannelRemoval& removal) const;
  void choose_by_latency(const Model& model, const RemovalOrder& order, const ChannelCosts& costs,
                         double target, ChannelRemoval& removal) const;
  bool is_met(const ChannelCost& left, double way) const;

  ChannelPruning pruning_;
  const DataSets* data_;
  std::uint64_t seed_;
  std::function<double(const Model&)> latency_share_;
  Progress& progress_;
  ChannelCost at_first_;
  std::map<std::string, std::int64_t> units_at_first_;  // by the group's name
  std::vector<FixedLayer> at_fault_;
  double gone_ = 0;  // share of the units that was asked to go
};

}  // namespace edgecompress
