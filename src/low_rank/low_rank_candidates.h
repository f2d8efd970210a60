// Layers that could become two of low rank, and what each rank would cost and lose.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "low_rank/low_rank_approximation.h"
#include "low_rank/rank_choice.h"
#include "model/layer_filter.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

struct LayerLeft {
  std::string layer, reason;
};

struct LowRankCandidate {
  PrunableWeight weight;
  LayerCost as_it_is;
  std::map<FactorScheme, LayerCost> cost_of_rank;  ///< of each scheme that may be taken
  std::map<FactorScheme, LowRankApproximation> approximations;
  bool is_data_aware = false;

  RankOption option(FactorScheme scheme, std::int64_t rank) const;
  bool is_cheaper(const RankOption& option) const;
  /// Every rank of every scheme that is cheaper in both costs; the channels between the layers are
  /// a multiple of `round_to`.
  std::vector<RankOption> cheaper_options(std::int64_t round_to) const;
  /// The smallest step between ranks that keeps to `round_to`.
  std::int64_t rank_step(std::int64_t round_to) const;
};

struct CandidateRules {
  std::optional<FactorScheme> scheme;  ///< spatial: channel where a layer has no spatial one
  bool takes_pruned = false;
  LayerFilter filter{{}, {}};
};

/// Convolutions, linear layers and RNNs that the filter accepts: candidates, without approximations
/// yet, and those that must stay, each with its reason. `shapes`: of a run of the model.
std::vector<LowRankCandidate> find_low_rank_candidates(const Model& model, const ShapeMap& shapes,
                                                       const CandidateRules& rules,
                                                       std::vector<LayerLeft>& left);

/// Decomposes the weights, by what calibration data says of their inputs where `data` has some:
/// then the network runs over it once for every 512 MiB of second moments. Layers whose inputs
/// can't be observed or are wider than 8192 go by their weights alone.
void approximate(std::vector<LowRankCandidate>& candidates, const Model& model,
                 const DataSets* data, Progress& progress);

}  // namespace edgecompress
