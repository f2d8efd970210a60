#include "train/optimizer.h"

#include <torch/types.h>  // clip_grad.h does not include what it uses

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

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
};

namespace {

std::vector<at::Tensor> without_repetition(const std::vector<at::Tensor>& tensors) {
  std::unordered_set<const void*> seen;
  std::vector<at::Tensor> unique;
  for (const at::Tensor& tensor : tensors) {
    if (seen.insert(tensor.unsafeGetTensorImpl()).second) unique.push_back(tensor);
  }
  return unique;
}

template <class TorchOptimizer, class TorchOptions>
std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::vector<at::Tensor>& parameters,
                                                        const TorchOptions& options) {
  std::vector<at::Tensor> decayed, undecayed;
  for (const at::Tensor& parameter : parameters) {
    (parameter.dim() > 1 ? decayed : undecayed).push_back(parameter);
  }
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, std::make_unique<TorchOptions>(options));
  groups.emplace_back(undecayed, std::make_unique<TorchOptions>(options));
  auto optimizer = std::make_unique<TorchOptimizer>(std::move(groups), options);
  // Only now: 2.14's constructor takes a group's 0 for "not given" and puts the common decay there.
  static_cast<TorchOptions&>(optimizer->param_groups()[1].options()).weight_decay(0);
  return optimizer;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::vector<at::Tensor>& parameters,
                                                        const OptimizerOptions& options) {
  const double lr = options.learning_rate();
  if (options.name == "adamw") {
    return make_optimizer<torch::optim::AdamW>(
        parameters, torch::optim::AdamWOptions(lr).weight_decay(options.weight_decay));
  }
  return make_optimizer<torch::optim::SGD>(parameters, torch::optim::SGDOptions(lr)
                                                           .momentum(options.momentum)
                                                           .nesterov(options.nesterov)
                                                           .weight_decay(options.weight_decay));
}

}  // namespace

Optimizer::Optimizer(const std::vector<at::Tensor>& parameters, const OptimizerOptions& options)
    : parameters_(without_repetition(parameters)), torch_(std::make_unique<Torch>()) {
  if (options.name == "sgd" && options.nesterov && options.momentum == 0) {
    throw Error(ExitCode::kRecipe, "optimizer: nesterov needs a momentum above 0, found 0",
                "set a momentum (0.9 is usual) or leave nesterov out");
  }
  torch_->optimizer = make_optimizer(parameters_, options);
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
  for (auto& group : torch_->optimizer->param_groups()) group.options().set_lr(lr);
  torch_->optimizer->step();
}

}  // namespace edgecompress
