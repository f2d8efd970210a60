// How a share of all weights is spread over the layers.
//
//   uniform      every layer loses the same share
//   global       one magnitude for all layers: each loses what it has below it
//   sensitivity  what harms the network's outputs least
//
// Sensitivity: the damage of pruning layer l alone, without labels, is
//   D_l(s) = sum (y_pruned - y)^2 / sum y^2 over calibration samples,
// measured at the shares s = R / 2, R and (1 + R) / 2 for an overall share R. Between them it
// follows the removed energy E_l(s), the sum of the squared scores of what goes:
//   D_l(s) = D_a (E_l(s) / E_a)^p, through the measured points a and b beside s
// (below the first, p = 1: a second-order expansion). Then
//   minimise sum_l D_l(s_l)  subject to  sum_l n_l s_l = R sum_l n_l,  0 <= s_l <= (1 + R) / 2
// on the lower convex hulls of the curves, where taking the cheapest slopes first is optimal. This
// takes damages to add up, as second-order methods do (LeCun et al. 1990, "Optimal Brain Damage").
// They don't quite, so the damage of the whole is measured at 0, 1/4, 1/2, 3/4 and all of the way
// from the uniform shares to these, and the least one stays.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "model/weight_matrix.h"
#include "pruning/weight_pruning.h"
#include "util/progress.h"

namespace edgecompress {

/// The share of each weight's elements below the one magnitude that leaves `share` of all above.
std::vector<double> global_shares(const Model& model, const std::vector<PrunableWeight>& weights,
                                  double share);
/// The share of each weight's elements below `threshold`.
std::vector<double> threshold_shares(const Model& model, const std::vector<PrunableWeight>& weights,
                                     double threshold);

/// Predicted damage of one layer at equally spaced shares from 0 to `largest_share`.
struct DamageCurve {
  std::int64_t size = 0;
  double largest_share = 1;
  std::vector<double> damage;
};
/// Shares that minimise the curves' sum on their lower convex hulls, `share` of all weights in all
/// (exactly, rounded to one weight). `share` is at most every curve's largest.
std::vector<double> allocate_shares(const std::vector<DamageCurve>& curves, double share);

struct SensitivityAllocation {
  std::vector<double> shares;
  std::vector<std::vector<double>> measured;  ///< [weight][R / 2, R, (1 + R) / 2]
  double damage = 0, uniform_damage = 0;      ///< of the network with all layers pruned
  double way = 0;  ///< from the uniform shares (0) to those of least predicted damage (1)
};
/// Measures on up to 64 calibration samples and allocates. Layers are pruned for it as `pruning`
/// ranks them (sparsegpt: as wanda does), without compensation. The model is left as it was.
/// Throws Error(kData) without calibration data.
SensitivityAllocation allocate_by_sensitivity(Model& model,
                                              const std::vector<PrunableWeight>& weights,
                                              double share, const WeightPruning& pruning,
                                              const DataSets* data, Progress& progress);

}  // namespace edgecompress
