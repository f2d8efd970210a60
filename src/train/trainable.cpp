#include "train/trainable.h"

#include <ATen/ATen.h>

namespace edgecompress {

std::vector<ParameterGroup> floating_parameters(
    const Model& model, const std::function<bool(const std::string&)>& accepts) {
  ParameterGroup group;
  for (const auto& [name, parameter] : model.named_parameters()) {
    if (parameter.is_floating_point() && (!accepts || accepts(name))) group.names.push_back(name);
  }
  if (group.names.empty()) return {};
  return {group};
}

Trainable::Trainable(Model& model, const std::vector<ParameterGroup>& groups) : model_(model) {
  for (auto& [name, parameter] : model.named_parameters()) {
    flags_.emplace_back(parameter, parameter.requires_grad());
    parameter.set_requires_grad(false);
  }
  for (const ParameterGroup& group : groups) {
    OptimizerGroup tensors;
    tensors.lr_factor = group.lr_factor;
    for (const std::string& name : group.names) tensors.parameters.push_back(model.tensor(name));
    groups_.push_back(tensors);
    starts_.push_back(group.start);
  }
}

Trainable::~Trainable() {
  model_.set_training(false);
  for (auto& [parameter, required_grad] : flags_) {
    parameter.mutable_grad().reset();
    parameter.set_requires_grad(required_grad);
  }
}

void Trainable::reach(std::int64_t step, std::int64_t steps) {
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const bool has_started = static_cast<double>(step) >= starts_[i] * static_cast<double>(steps);
    for (at::Tensor& parameter : groups_[i].parameters) parameter.set_requires_grad(has_started);
  }
}

}  // namespace edgecompress
