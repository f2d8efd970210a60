// How important units are to second order: what the loss would change by without them.
//
// Removing a unit u is to multiply what its consumers read of it by m = 0 instead of 1. At a
// minimum of the loss the first-order term vanishes and the second is left, whose curvature is the
// Fisher information of m: squares of first derivatives, so that no Hessian is computed.
//
//   I(u) = 1/2 * 1/N * sum over samples n of  (dLoss_n / dm)^2
//   dLoss_n / dm = sum over consumers, over positions of sample n, of  a * dLoss_n / da
//
// a: the unit's activations as the consumer reads them. LeCun et al. 1990, "Optimal Brain Damage";
// Theis et al. 2018, "Faster gaze prediction with dense networks and Fisher pruning"; summed over
// the consumers before it is squared: Liu et al. 2021, "Group Fisher Pruning for Practical Network
// Compression".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/channel_groups.h"
#include "model/channel_importance.h"
#include "model/interpreter.h"
#include "model/model.h"

namespace edgecompress {

class FisherImportance {
 public:
  /// `groups`, of `model`, must outlive it; the model need not.
  FisherImportance(const Model& model, const ChannelGroups& groups);
  ~FisherImportance();

  /// A batch of `samples`; `loss` is the mean of their losses, by the model's outputs. What a layer
  /// reads that does not keep samples apart counts by its mean over the batch.
  void observe(const std::vector<at::Tensor>& inputs, std::int64_t samples,
               const std::function<at::Tensor(const std::vector<at::Tensor>& outputs)>& loss);
  /// Groups are known that a layer with such an input consumes. Throws Error(kPass) if a derivative
  /// was not finite.
  UnitImportance result() const;

 private:
  struct Watched;
  at::Tensor by_sample(const Watched& watched, const at::Tensor& products) const;

  const ChannelGroups& groups_;
  Model model_;
  std::vector<Watched> watched_;
  std::unique_ptr<Interpreter> interpreter_;
  at::Tensor
      derivatives_;     // float64 [samples of the batch, units of all groups, then one for none]
  at::Tensor squares_;  // float64, their sums over samples
  std::int64_t samples_ = 0;
};

}  // namespace edgecompress
