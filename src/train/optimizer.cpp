#include "train/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "edgecompress/error.h"

namespace edgecompress {

Options<OptimizerOptions> optimizer_options(const OptimizerOptions& defaults) {
  Options<OptimizerOptions> o(defaults);
  o.add("name", &OptimizerOptions::name, "the optimiser").one_of({"sgd", "adam", "adamw", "lamb"});
  o.add("lr", &OptimizerOptions::lr, "learning rate; by default 0.01 for sgd, 0.001 for the others")
      .above(0);
  o.add("momentum", &OptimizerOptions::momentum, "share of the last update that goes on")
      .at_least(0)
      .below(1)
      .only_with("name", {"sgd"});
  o.add("nesterov", &OptimizerOptions::nesterov, "look ahead; needs momentum")
      .only_with("name", {"sgd"});
  o.add("weight_decay", &OptimizerOptions::weight_decay,
        "pull of weights towards 0; not on tensors of one dimension (norms, biases)")
      .at_least(0);
  return o;
}

namespace {

using Memory = Optimizer::Memory;

constexpr double kBeta1 = 0.9, kBeta2 = 0.999;

void follow_sgd(at::Tensor& weight, at::Tensor gradient, Memory& memory, double lr, double decay,
                const OptimizerOptions& options) {
  if (decay > 0) gradient = gradient.add(weight, decay);
  if (options.momentum > 0) {
    if (!memory.first.defined()) memory.first = at::zeros_like(weight);
    memory.first.mul_(options.momentum).add_(gradient);
    gradient = options.nesterov ? gradient.add(memory.first, options.momentum) : memory.first;
  }
  weight.add_(gradient, -lr);
}

void take_moments(const at::Tensor& weight, const at::Tensor& gradient, Memory& memory) {
  if (!memory.first.defined()) {
    memory.first = at::zeros_like(weight);
    memory.second = at::zeros_like(weight);
  }
  memory.first.mul_(kBeta1).add_(gradient, 1 - kBeta1);
  memory.second.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
}

/// sqrt(s) + eps.
at::Tensor spread_of(const Memory& memory, double epsilon) {
  const double correction = 1 - std::pow(kBeta2, static_cast<double>(memory.steps));
  return memory.second.sqrt().div_(std::sqrt(correction)).add_(epsilon);
}

double correction_of_mean(const Memory& memory) {
  return 1 - std::pow(kBeta1, static_cast<double>(memory.steps));
}

void follow_adam(at::Tensor& weight, at::Tensor gradient, Memory& memory, double lr, double decay,
                 const OptimizerOptions& options) {
  if (decay > 0 && options.name == "adamw") weight.mul_(1 - lr * decay);
  if (decay > 0 && options.name == "adam") gradient = gradient.add(weight, decay);
  take_moments(weight, gradient, memory);
  weight.addcdiv_(memory.first, spread_of(memory, 1e-8), -lr / correction_of_mean(memory));
}

void follow_lamb(at::Tensor& weight, at::Tensor gradient, Memory& memory, double lr, double decay,
                 const OptimizerOptions&) {
  take_moments(weight, gradient, memory);
  at::Tensor update = memory.first.div(spread_of(memory, 1e-6)).div_(correction_of_mean(memory));
  if (decay > 0) update.add_(weight, decay);
  double trust = 1;
  if (weight.dim() > 1) {
    const double of_weight = weight.norm().item<double>();
    const double of_update = update.norm().item<double>();
    if (of_weight > 0 && of_update > 0) trust = of_weight / of_update;
  }
  weight.add_(update, -lr * trust);
}

}  // namespace

Optimizer::Optimizer(const std::vector<OptimizerGroup>& groups, const OptimizerOptions& options)
    : options_(options) {
  if (options.name == "sgd" && options.nesterov && options.momentum == 0) {
    throw Error(ExitCode::kRecipe, "optimizer: nesterov needs a momentum above 0, found 0",
                "set a momentum (0.9 is usual) or leave nesterov out");
  }
  std::unordered_set<const void*> seen;
  for (const OptimizerGroup& group : groups) {
    for (const at::Tensor& parameter : group.parameters) {
      if (!seen.insert(parameter.unsafeGetTensorImpl()).second) continue;
      parameters_.push_back(parameter);
      lr_factors_.push_back(group.lr_factor);
    }
  }
  memory_.resize(parameters_.size());
}

void Optimizer::forget_gradients() {
  // Undefined instead of zero: what the loss does not depend on is then left alone.
  for (at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
}

void Optimizer::clip_gradients(double largest_norm) {
  std::vector<at::Tensor> norms;
  for (const at::Tensor& parameter : parameters_) {
    if (parameter.grad().defined()) norms.push_back(parameter.grad().norm());
  }
  if (norms.empty()) return;
  const double norm = at::stack(norms).norm().item<double>();
  const double factor = largest_norm / (norm + 1e-6);
  if (factor >= 1) return;
  for (const at::Tensor& parameter : parameters_) {
    if (parameter.grad().defined()) parameter.grad().mul_(factor);
  }
}

void Optimizer::step(double lr) {
  const at::NoGradGuard no_grad;
  const auto follow = options_.name == "sgd"    ? follow_sgd
                      : options_.name == "lamb" ? follow_lamb
                                                : follow_adam;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& parameter = parameters_[i];
    if (!parameter.grad().defined()) continue;
    ++memory_[i].steps;
    follow(parameter, parameter.grad(), memory_[i], lr * lr_factors_[i],
           parameter.dim() > 1 ? options_.weight_decay : 0, options_);
  }
}

void Optimizer::remember(const std::vector<Memory>& memory) {
  // In the parameters' own memory layout, as the steps would have left it.
  const auto laid_out = [](const at::Tensor& stored, const at::Tensor& parameter) {
    return stored.defined() ? at::empty_like(parameter.detach()).copy_(stored) : at::Tensor();
  };
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    memory_[i].steps = memory.at(i).steps;
    memory_[i].first = laid_out(memory[i].first, parameters_[i]);
    memory_[i].second = laid_out(memory[i].second, parameters_[i]);
  }
}

}  // namespace edgecompress
