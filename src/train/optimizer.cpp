#include "train/optimizer.h"

#include <torch/types.h>  // clip_grad.h does not include what it uses

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "edgecompress/error.h"

namespace edgecompress {

Options<OptimizerOptions> optimizer_options(const OptimizerOptions& defaults) {
  Options<OptimizerOptions> o(defaults);
  o.add("name", &OptimizerOptions::name, "the optimiser").one_of({"sgd", "adamw"});
  o.add("lr", &OptimizerOptions::lr, "learning rate; by default 0.01 for sgd, 0.001 for adamw")
      .above(0);
  o.add("momentum", &OptimizerOptions::momentum, "sgd: share of the last update that goes on")
      .at_least(0)
      .below(1);
  o.add("nesterov", &OptimizerOptions::nesterov, "sgd: look ahead; needs momentum");
  o.add("weight_decay", &OptimizerOptions::weight_decay,
        "pull of weights towards 0; not on tensors of one dimension (norms, biases)")
      .at_least(0);
  return o;
}

struct Optimizer::Torch {
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  std::vector<double> lr_factors;  // of the optimiser's groups
};

namespace {

std::vector<OptimizerGroup> without_repetition(std::vector<OptimizerGroup> groups) {
  std::unordered_set<const void*> seen;
  for (OptimizerGroup& group : groups) {
    auto& tensors = group.parameters;
    const auto is_seen = [&](const at::Tensor& tensor) {
      return !seen.insert(tensor.unsafeGetTensorImpl()).second;
    };
    tensors.erase(std::remove_if(tensors.begin(), tensors.end(), is_seen), tensors.end());
  }
  return groups;
}

/// Two of the optimiser's groups for each of ours: what decays, and what does not.
template <class TorchOptimizer, class TorchOptions>
std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::vector<OptimizerGroup>& groups,
                                                        const TorchOptions& options) {
  std::vector<torch::optim::OptimizerParamGroup> torch_groups;
  for (const OptimizerGroup& group : groups) {
    std::vector<at::Tensor> decayed, undecayed;
    for (const at::Tensor& parameter : group.parameters) {
      (parameter.dim() > 1 ? decayed : undecayed).push_back(parameter);
    }
    torch_groups.emplace_back(decayed, std::make_unique<TorchOptions>(options));
    torch_groups.emplace_back(undecayed, std::make_unique<TorchOptions>(options));
  }
  auto optimizer = std::make_unique<TorchOptimizer>(std::move(torch_groups), options);
  // Only now: 2.14's constructor takes a group's 0 for "not given" and puts the common decay there.
  for (std::size_t i = 1; i < optimizer->param_groups().size(); i += 2) {
    static_cast<TorchOptions&>(optimizer->param_groups()[i].options()).weight_decay(0);
  }
  return optimizer;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::vector<OptimizerGroup>& groups,
                                                        const OptimizerOptions& options) {
  const double lr = options.learning_rate();
  if (options.name == "adamw") {
    return make_optimizer<torch::optim::AdamW>(
        groups, torch::optim::AdamWOptions(lr).weight_decay(options.weight_decay));
  }
  return make_optimizer<torch::optim::SGD>(groups, torch::optim::SGDOptions(lr)
                                                       .momentum(options.momentum)
                                                       .nesterov(options.nesterov)
                                                       .weight_decay(options.weight_decay));
}

}  // namespace

Optimizer::Optimizer(const std::vector<OptimizerGroup>& groups, const OptimizerOptions& options)
    : torch_(std::make_unique<Torch>()) {
  if (options.name == "sgd" && options.nesterov && options.momentum == 0) {
    throw Error(ExitCode::kRecipe, "optimizer: nesterov needs a momentum above 0, found 0",
                "set a momentum (0.9 is usual) or leave nesterov out");
  }
  const std::vector<OptimizerGroup> unique = without_repetition(groups);
  for (const OptimizerGroup& group : unique) {
    parameters_.insert(parameters_.end(), group.parameters.begin(), group.parameters.end());
    torch_->lr_factors.insert(torch_->lr_factors.end(), 2, group.lr_factor);
  }
  torch_->optimizer = make_optimizer(unique, options);
}

Optimizer::~Optimizer() = default;

void Optimizer::forget_gradients() {
  // Undefined instead of zero: what the loss does not depend on is then left alone by the
  // optimiser, decay and momentum included.
  for (at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
}

void Optimizer::clip_gradients(double largest_norm) {
  torch::nn::utils::clip_grad_norm_(parameters_, largest_norm);
}

void Optimizer::step(double lr) {
  auto& groups = torch_->optimizer->param_groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    groups[i].options().set_lr(lr * torch_->lr_factors[i]);
  }
  torch_->optimizer->step();
}

}  // namespace edgecompress
