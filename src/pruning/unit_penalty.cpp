#include "pruning/unit_penalty.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <numeric>
#include <string>
#include <unordered_set>

namespace edgecompress {
namespace {

at::Tensor sum_but(const at::Tensor& tensor, std::int64_t dim) {
  std::vector<std::int64_t> others;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) {
    if (i != dim) others.push_back(i);
  }
  return others.empty() ? tensor : tensor.sum(others);
}

/// For each position along the member's dimension the number of its unit in `chosen`.
at::Tensor units_of_positions(const ChannelMember& member, const std::vector<std::int64_t>& chosen,
                              std::int64_t positions) {
  at::Tensor units = at::full({positions}, static_cast<std::int64_t>(chosen.size()), at::kLong);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    for (const std::int64_t position : member.positions[static_cast<std::size_t>(chosen[i])])
      units[position] = static_cast<std::int64_t>(i);
  }
  return units;
}

at::Tensor add_by_unit(const at::Tensor& of_positions, const at::Tensor& unit_of_position,
                       std::int64_t units) {
  return at::zeros({units + 1}, at::kDouble)
      .index_add(0, unit_of_position, of_positions.to(at::kDouble))
      .slice(0, 0, units);
}

}  // namespace

UnitPenalty::UnitPenalty(const Model& model, const ChannelGroups& groups,
                         const UnitChoice& chosen) {
  std::unordered_set<std::string> parameters;
  for (const auto& [name, tensor] : model.named_parameters()) {
    if (tensor.is_floating_point()) parameters.insert(name);
  }
  for (std::size_t g = 0; g < groups.groups.size(); ++g) {
    const auto units = static_cast<std::int64_t>(chosen[g].size());
    Group group{units, {}, at::zeros({units}, at::kDouble)};
    for (const ChannelMember& member : groups.groups[g].members) {
      if (units == 0 || parameters.count(member.tensor) == 0) continue;
      const at::Tensor parameter = model.tensor(member.tensor);
      const std::int64_t positions = parameter.size(member.dim);
      const at::Tensor unit_of_position = units_of_positions(member, chosen[g], positions);
      const double share = static_cast<double>(parameter.numel()) / static_cast<double>(positions);
      group.sizes.add_(
          add_by_unit(at::full({positions}, share, at::kDouble), unit_of_position, units));
      group.slices.push_back({parameter, member.dim, unit_of_position});
    }
    groups_.push_back(std::move(group));
  }
}

at::Tensor UnitPenalty::square_norms(const Group& group) {
  at::Tensor norms = at::zeros({group.units}, at::kDouble);
  for (const Slice& slice : group.slices) {
    norms.add_(add_by_unit(sum_but(slice.parameter.detach().square(), slice.dim),
                           slice.unit_of_position, group.units));
  }
  return norms;
}

void UnitPenalty::add(const Group& group, const at::Tensor& factors) {
  const at::Tensor with_none = at::cat({factors, at::zeros({1}, factors.options())});
  for (const Slice& slice : group.slices) {
    const at::Tensor weight = slice.parameter.detach();
    std::vector<std::int64_t> shape(static_cast<std::size_t>(weight.dim()), 1);
    shape[static_cast<std::size_t>(slice.dim)] = -1;
    const at::Tensor of_positions =
        with_none.index_select(0, slice.unit_of_position).to(weight.scalar_type()).view(shape);
    // A handle of its own: the gradient belongs to the tensor, not to this one.
    at::Tensor parameter = slice.parameter;
    at::Tensor& gradient = parameter.mutable_grad();
    if (!gradient.defined()) gradient = at::zeros_like(weight);
    gradient.addcmul_(weight, of_positions);
  }
}

std::vector<std::vector<double>> UnitPenalty::root_mean_squares() const {
  std::vector<std::vector<double>> of_groups;
  for (const Group& group : groups_) {
    const at::Tensor values = (square_norms(group) / group.sizes.clamp_min(1)).sqrt();
    of_groups.emplace_back(values.data_ptr<double>(), values.data_ptr<double>() + group.units);
  }
  return of_groups;
}

void UnitPenalty::add_group_lasso(double lambda) const {
  const at::NoGradGuard no_grad;
  for (const Group& group : groups_) {
    const at::Tensor norms = square_norms(group).sqrt();
    const at::Tensor factors = lambda * group.sizes.sqrt() / norms;
    add(group, at::where(norms > 0, factors, at::zeros_like(factors)));
  }
}

void UnitPenalty::add_decay(double lambda) const {
  const at::NoGradGuard no_grad;
  for (const Group& group : groups_) add(group, at::full({group.units}, lambda, at::kDouble));
}

UnitChoice every_unit(const ChannelGroups& groups, const std::vector<bool>& is_open) {
  UnitChoice units(groups.groups.size());
  for (std::size_t g = 0; g < units.size(); ++g) {
    if (!is_open[g]) continue;
    units[g].resize(groups.groups[g].units.size());
    std::iota(units[g].begin(), units[g].end(), std::int64_t{0});
  }
  return units;
}

}  // namespace edgecompress
