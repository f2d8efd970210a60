// How important units are by derivatives of the loss: what it would change by without them.
//
// Removing a unit u is to multiply what its consumers read of it by m = 0 instead of 1. By the
// derivative of the loss of a sample n there,
//
//   dLoss_n / dm = sum over consumers, over positions of sample n, of  a * dLoss_n / da
//
//   taylor   I(u) =      1/N * sum over samples n of  |dLoss_n / dm|
//   fisher   I(u) = 1/2 * 1/N * sum over samples n of  (dLoss_n / dm)^2
//
// a: the unit's activations as the consumer reads them. Taylor is what each sample's loss changes
// by to first order, up or down (Molchanov et al. 2017, "Pruning Convolutional Neural Networks for
// Resource Efficient Inference", eq. 8). At a minimum of the loss these changes cancel, and the
// second order is left, whose curvature is the Fisher information of m: squares of first
// derivatives, so that no Hessian is computed (LeCun et al. 1990, "Optimal Brain Damage"; Theis et
// al. 2018, "Faster gaze prediction with dense networks and Fisher pruning"). Both are summed over
// the consumers before their size is taken: Liu et al. 2021, "Group Fisher Pruning for Practical
// Network Compression".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "channels/channel_groups.h"
#include "channels/channel_importance.h"
#include "model/interpreter.h"
#include "model/model.h"

namespace edgecompress {

enum class DerivativeCriterion { kTaylor, kFisher };

class DerivativeImportance {
 public:
  /// `groups`, of `model`, must outlive it; the model need not.
  DerivativeImportance(const Model& model, const ChannelGroups& groups,
                       DerivativeCriterion criterion);
  ~DerivativeImportance();

  /// A batch of `samples`; `loss` is the mean of their losses, by the model's outputs. What a layer
  /// reads that does not keep samples apart counts by its mean over the batch.
  void observe(const std::vector<at::Tensor>& inputs, std::int64_t samples,
               const std::function<at::Tensor(const std::vector<at::Tensor>& outputs)>& loss);
  /// Groups are known that a layer with such an input consumes. Throws Error(kPass) naming a group
  /// by which a derivative was not finite.
  UnitImportance result() const;

 private:
  struct Watched;
  at::Tensor by_sample(const Watched& watched, const at::Tensor& products) const;

  const ChannelGroups& groups_;
  DerivativeCriterion criterion_;
  Model model_;
  std::vector<Watched> watched_;
  std::unique_ptr<Interpreter> interpreter_;
  at::Tensor
      derivatives_;  // float64 [samples of the batch, units of all groups, then one for none]
  at::Tensor sums_;  // float64, over samples, of their sizes or squares
  std::int64_t samples_ = 0;
};

}  // namespace edgecompress
