// Training that makes whole channels small before they are removed, so that less is lost with them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "pruning/channel_pruning.h"
#include "train/fine_tuning.h"

namespace edgecompress {

struct SparsityTrainingOptions {
  std::string regularizer = "group_lasso";  ///< group_lasso, growing
  std::optional<double> strength;           ///< null: 1e-3 (group_lasso), 1 (growing)
  FineTuningOptions training;               ///< the last epoch's weights are kept by default
};
Options<SparsityTrainingOptions> sparsity_training_options();

struct SparsityTraining {
  TrainResult training;
  /// How far channels that can go stand out, before and after: the mean over units of the root
  /// mean square of their weights, of the smallest of each open group, as many as are to go, over
  /// that of the others.
  double share_before = 0, share_after = 0;
};

/// Trains every parameter for the loss that the data's target asks for, with a penalty
/// (unit_penalty.h) on units of the groups of `planned`, a plan for this model:
///
///   group_lasso   on every unit of the open groups, strength * sqrt(n_u) |w_u|: which ones become
///                 small is left to training
///   growing       on the units that the plan removes, lambda / 2 |w_u|^2; lambda grows with every
///                 step, to `strength` after four fifths of them, and stays (Wang et al. 2021,
///                 "Neural Pruning via Growing Regularization")
SparsityTraining train_to_sparsity(Model& model, const SparsityTrainingOptions& options,
                                   const ChannelRemoval& planned, const std::string& pass,
                                   const TrainingContext& context);

}  // namespace edgecompress
