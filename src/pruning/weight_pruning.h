// What decides which weights go, and the pruning itself.
//
//   magnitude  |w|, ranked within each matrix
//   wanda      |w| ||x_j||, x_j being what the weight's column is multiplied with over calibration
//              data, ranked within each row. Sun et al. 2023, "A Simple and Effective Pruning
//              Approach for Large Language Models"
//   sparsegpt  by the error that going causes, the rest of the row making up for it; see
//              model/sparsegpt.h
//
// The last two take the layers in execution order, in at most 8 groups: each group's inputs are
// those of the network as it is then, so later groups see what the pruning of earlier ones does to
// them, at 8 forward passes over the calibration data in all. A group also ends where the sums of
// its inputs would take more than 512 MiB.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "model/weight_matrix.h"
#include "pruning/sparsity_pattern.h"
#include "util/progress.h"

namespace edgecompress {

enum class PruneCriterion { kMagnitude, kWanda, kSparseGpt };

/// At least 0, [rows, columns] of the matrix. `squares`: double [groups, columns], sums of squares
/// of the inputs; undefined: magnitudes alone.
at::Tensor prune_scores(const PrunableWeight& weight, const at::Tensor& matrix,
                        const at::Tensor& squares);

struct WeightPruning {
  PruneCriterion criterion = PruneCriterion::kMagnitude;
  SparsityPattern pattern;  ///< sparsegpt: no blocks

  /// The matrix pruned to `share`, by what is known of its inputs: their products (sparsegpt),
  /// their squares (wanda) or nothing (magnitude).
  at::Tensor prune(const PrunableWeight& weight, const at::Tensor& matrix, double share,
                   const at::Tensor& moments) const;
  /// Prunes `weights[i]` of the model to `shares[i]`; a layer that sparsegpt would only undo, since
  /// as many are zero already, is left as it is. Returns the layers for which another criterion had
  /// to do, each with its reason: RNNs, layers that the data never reaches and convolutions of
  /// unknown geometry go by magnitude, and layers wider than 8192 inputs by wanda instead of
  /// sparsegpt. Throws Error(kData) without calibration data where the criterion needs it.
  std::vector<std::string> apply(Model& model, const std::vector<PrunableWeight>& weights,
                                 const std::vector<double>& shares, const DataSets* data,
                                 Progress& progress) const;
};

}  // namespace edgecompress
