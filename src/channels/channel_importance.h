// How important each unit of a channel group is, by what its weights or its activations are.
//
// Every criterion gives a unit one number for each member of its group that the criterion looks at
// (one tensor, or one activation). A unit's importance is the mean over these members, each divided
// by its own mean over the group:
//
//   I(u) = 1/|M| * sum over m in M of  s_m(u) / (1/|U| * sum over v in U of s_m(v))
//
// so that no member outweighs another by its size, and every group's mean is 1, by which groups can
// be ranked together (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning").
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "channels/channel_groups.h"
#include "model/layers.h"
#include "model/model.h"

namespace edgecompress {

/// One number for each unit of each group.
using UnitScores = std::vector<std::vector<double>>;

/// Scores, and which groups have none, since they hold nothing that the criterion looks at: theirs
/// are all 1.
struct UnitImportance {
  UnitScores scores;
  std::vector<bool> is_known;  ///< one each group
};

/// Adds up what the members of one group tell of its units, as above.
class GroupScores {
 public:
  explicit GroupScores(const ChannelGroup& group) : sums_(group.units.size(), 0.0) {}

  /// One number each unit, at least 0. Throws Error(kPass) naming the source where one is not
  /// finite.
  void add(const std::vector<double>& of_units, const std::string& source);
  /// Appends the group's importance.
  void store(UnitImportance& importance) const;

 private:
  std::vector<double> sums_;
  int members_ = 0;
};

/// The first input of a layer, an activation, along the one dimension that its channels run in.
struct ConsumedChannels {
  const Layer* layer;
  std::int64_t dim;
  std::vector<Cell> cells;  ///< along dim
};
/// Of each layer that consumes channels and has such an input, in execution order. Cells of no
/// group are among them.
std::vector<ConsumedChannels> consumed_channels(const std::vector<Layer>& layers,
                                                const ChannelGroups& groups);

enum class WeightCriterion {
  kL1,               ///< sum of |w| over the unit's slice; weights that produce or consume
  kL2,               ///< root of the sum of w^2; the same
  kGeometricMedian,  ///< sum of the distances to the other units' slices; weights that produce
                     ///< (He et al. 2019, "Filter Pruning via Geometric Median")
  kBatchNormScale    ///< sum of |gamma|; batch norms (Liu et al. 2017, "Network Slimming")
};

/// Throws Error(kPass) naming a weight that is not finite.
UnitImportance weight_importance(const Model& model, const ChannelGroups& groups,
                                 WeightCriterion criterion);

/// Uniform in [0, 1), the same for the same seed.
UnitImportance random_importance(const ChannelGroups& groups, std::uint64_t seed);

enum class ActivationCriterion {
  kMean,  ///< mean |a| of the channel, where a layer consumes it
  kApoz   ///< share of values that are not 0 (Hu et al. 2016, "Network Trimming": 1 - APoZ)
};

/// Watches what the layers that consume a group's channels are given, batch by batch.
class ActivationImportance {
 public:
  /// `model` and `groups` must outlive it, and the model not be edited meanwhile.
  ActivationImportance(const Model& model, const ChannelGroups& groups,
                       ActivationCriterion criterion);
  ~ActivationImportance();

  void observe(const std::vector<at::Tensor>& inputs);
  UnitImportance result() const;

 private:
  struct Watched;
  const Model& model_;
  const ChannelGroups& groups_;
  ActivationCriterion criterion_;
  std::vector<Watched> watched_;
};

}  // namespace edgecompress
