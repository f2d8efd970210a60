// Which rank each layer gets, so that the network costs no more than asked and little is lost.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "low_rank/factored_layers.h"

namespace edgecompress {

struct RankOption {
  FactorScheme scheme = FactorScheme::kChannel;
  std::int64_t rank = 0;  ///< of each group
  LayerCost cost;
  double lost = 0;  ///< share of the energy of the layer's outputs
};

struct RankOptions {
  LayerCost as_it_is;
  std::vector<RankOption> options;  ///< each cheaper than the layer as it is
  /// What a lost share of one does to the network's outputs, in any unit.
  double damage = 1;
};

struct RankChoice {
  std::vector<std::optional<RankOption>> chosen;  ///< by layer; nothing: as it is
  bool is_met = true;                             ///< false: not even the lowest ranks suffice
};

/// The options that bring the sum over layers of `cost` to at most `budget` and lose least, in the
/// sum of damage times the lost share: each layer's options are taken along their lower convex
/// hull, those that lose least for what they save first; the last one taken gets the best option
/// that suffices.
RankChoice choose_within_budget(const std::vector<RankOptions>& layers,
                                std::int64_t LayerCost::*cost, std::int64_t budget);

}  // namespace edgecompress
