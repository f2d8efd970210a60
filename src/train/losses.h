// What training makes small.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "recipe/options.h"

namespace edgecompress {

/// Loss of one batch: the model's outputs, the batch -> scalar with gradients.
using LossFunction =
    std::function<at::Tensor(const std::vector<at::Tensor>& outputs, const Batch& batch)>;

struct LossOptions {
  std::string name = "auto";   ///< auto, cross_entropy, bce, mse, l1
  double label_smoothing = 0;  ///< cross_entropy: share of the target spread over all classes
};
/// To be spliced into a pass's options, as `loss` and `label_smoothing`.
Options<LossOptions> loss_options();

/// Of the first output against the batch's target, averaged. `auto` is cross entropy for int64
/// targets ([n] for scores [n, classes], or [n, ...] for [n, classes, ...]) and mean squared error
/// for floating ones of the output's shape. `bce` is binary cross entropy: outputs are scores
/// (log odds), targets of the same shape are probabilities in [0, 1] or truth values. Of samples
/// that were mixed (train/mixing.h) it is the mean of the losses against both targets by their
/// shares.
/// CTC is not offered: targets of unequal length and a metric for sequences are not among what data
/// sets and evaluation know.
/// Calling it throws Error(kPass) without a target, or where the shapes can't be compared.
LossFunction target_loss(const LossOptions& options);

}  // namespace edgecompress
