// Which tensors of a network train, and from when on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "model/model.h"
#include "train/optimizer.h"

namespace edgecompress {

/// Parameters that train alike.
struct ParameterGroup {
  std::vector<std::string> names;  ///< dotted
  double lr_factor = 1;            ///< of the training's learning rate
  /// Share of the training's steps before which the group stays as it is, in [0, 1); until then its
  /// gradients are not computed either. Some group must start at 0.
  double start = 0;
};
/// Every floating parameter whose name `accepts` lets pass, as one group; no group if there is
/// none.
std::vector<ParameterGroup> floating_parameters(
    const Model& model, const std::function<bool(const std::string&)>& accepts = {});

/// While it lives, only the groups' parameters get gradients, so those of the others are not even
/// computed. After it the model is in eval mode, without gradients, its flags as they were. The
/// model must outlive it.
class Trainable {
 public:
  Trainable(Model& model, const std::vector<ParameterGroup>& groups);
  ~Trainable();
  Trainable(const Trainable&) = delete;
  Trainable& operator=(const Trainable&) = delete;

  /// To be called before each step: what has not started yet gets no gradients.
  void reach(std::int64_t step, std::int64_t steps);
  const std::vector<OptimizerGroup>& groups() const { return groups_; }

 private:
  Model& model_;
  std::vector<std::pair<at::Tensor, bool>> flags_;
  std::vector<OptimizerGroup> groups_;
  std::vector<double> starts_;
};

}  // namespace edgecompress
