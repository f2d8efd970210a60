// A penalty on whole units of channel groups, as gradients: what training adds to make units small
// before they are removed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "channels/channel_groups.h"
#include "model/model.h"

namespace edgecompress {

/// w_u, the weights of a unit u, are all that its group's parameters hold at its positions; n_u is
/// how many these are. An element at which a unit meets itself (of a recurrent weight) counts
/// twice.
class UnitPenalty {
 public:
  /// On the units `chosen` of the groups. The model must outlive this, and keep its tensors.
  UnitPenalty(const Model& model, const ChannelGroups& groups, const UnitChoice& chosen);

  /// |w_u| / sqrt(n_u) of each group's chosen units.
  std::vector<std::vector<double>> root_mean_squares() const;

  /// Adds to the parameters' gradients those of  lambda * sum over u of sqrt(n_u) |w_u|_2  (Yuan &
  /// Lin 2006, "Model selection and estimation in regression with grouped variables"; on channels:
  /// Wen et al. 2016, "Learning Structured Sparsity in Deep Neural Networks"). A unit of zeros
  /// adds nothing.
  void add_group_lasso(double lambda) const;
  /// The same of  lambda / 2 * sum over u of |w_u|_2^2.
  void add_decay(double lambda) const;

 private:
  /// One dimension of a parameter.
  struct Slice {
    at::Tensor parameter;
    std::int64_t dim;
    at::Tensor unit_of_position;  ///< int64; the number of units where it belongs to none of them
  };
  struct Group {
    std::int64_t units;
    std::vector<Slice> slices;
    at::Tensor sizes;  ///< float64, n_u
  };
  static at::Tensor square_norms(const Group& group);
  /// Adds factor_u * w_u to the gradients; `factors`: float64, one for each unit.
  static void add(const Group& group, const at::Tensor& factors);

  std::vector<Group> groups_;
};

/// All units of the groups that are open.
UnitChoice every_unit(const ChannelGroups& groups, const std::vector<bool>& is_open);

}  // namespace edgecompress
