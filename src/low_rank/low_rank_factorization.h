// Which layers of a network become two of low rank, of which rank, and the network with them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "low_rank/low_rank_candidates.h"
#include "model/model.h"
#include "pruning/channel_repair.h"
#include "util/progress.h"

namespace edgecompress {

struct LowRankTarget {
  enum class Kind {
    kRank,       ///< below 1 a share of each layer's full rank, else the rank
    kEnergy,     ///< share of the energy of each layer's outputs that is kept
    kMacs,       ///< share of the network's multiply-accumulates that is left
    kParameters  ///< share of the network's parameters that is left
  };
  Kind kind = Kind::kMacs;
  double value = 0.5;
};

struct FactoredLayer {
  std::string layer;
  FactorScheme scheme = FactorScheme::kChannel;
  std::int64_t rank = 0, full_rank = 0;  ///< of each group
  double energy_kept = 0;                ///< share
  bool is_data_aware = false;            ///< else the energy is that of the weights
  LayerCost before, after;
  /// Outputs of the layer against those of before, on held-out calibration samples.
  std::optional<double> sqnr_db;
};

struct LowRankResult {
  std::vector<FactoredLayer> layers;
  std::vector<LayerLeft> left;
  LayerCost before, after;  ///< of the network; parameters: elements of all of them
  bool is_met = true;       ///< false: not even the lowest ranks suffice
  std::optional<ChannelRepair> repair;
};

struct LowRankFactorization {
  LowRankTarget target;
  CandidateRules rules;       ///< without a scheme: whichever loses least for what it saves
  std::int64_t round_to = 1;  ///< channels between two layers are a multiple of it

  /// Layers are replaced only where that makes them cheaper in multiply-accumulates and in
  /// parameters. With calibration data
  ///  - ranks and factors are those that change the layers' outputs least, not their weights
  ///    (low_rank_approximation.h);
  ///  - a budget is spent where it changes the network's outputs least: that is measured with each
  ///    layer alone at about half its cost, and taken to grow as the energy that is lost, unless
  ///    the network as a whole says otherwise;
  ///  - the second layers and batch norms are fitted to what they see in the new network
  ///    (channel_repair.h).
  /// `data` may be null; the model's example inputs must be known. Throws Error(kPass) where they
  /// aren't, and for a weight that isn't finite.
  LowRankResult apply(Model& model, const DataSets* data, Progress& progress) const;
};

}  // namespace edgecompress
