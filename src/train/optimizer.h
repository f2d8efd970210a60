// LibTorch's optimisers behind our options.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

struct OptimizerOptions {
  std::string name = "sgd";    ///< sgd, adamw
  std::optional<double> lr;    ///< null: 0.01 (sgd), 0.001 (adamw)
  double momentum = 0.9;       ///< sgd
  bool nesterov = false;       ///< sgd; needs momentum > 0
  double weight_decay = 1e-4;  ///< not on tensors of one dimension (norms, biases)

  double learning_rate() const { return lr.value_or(name == "adamw" ? 1e-3 : 1e-2); }
};
Options<OptimizerOptions> optimizer_options(const OptimizerOptions& defaults = {});

/// Tensors that train alike.
struct OptimizerGroup {
  std::vector<at::Tensor> parameters;
  double lr_factor = 1;  ///< of the learning rate that step() is given
};

/// SGD as torch.optim.SGD does it (g += decay * w; v = momentum * v + g; w -= lr * v, or
/// lr * (g + momentum * v) with nesterov) and AdamW (Loshchilov & Hutter 2019, "Decoupled Weight
/// Decay Regularization"; betas 0.9 and 0.999, eps 1e-8).
class Optimizer {
 public:
  /// A tensor that is given twice (tied weights) is trained once, as the first one. Throws
  /// Error(kRecipe) for nesterov without momentum.
  Optimizer(const std::vector<OptimizerGroup>& groups, const OptimizerOptions& options);
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Without repetition.
  const std::vector<at::Tensor>& parameters() const { return parameters_; }
  void forget_gradients();
  /// Scales all gradients so that their common 2-norm is at most `largest_norm`.
  void clip_gradients(double largest_norm);
  void step(double lr);

 private:
  struct Torch;
  std::vector<at::Tensor> parameters_;
  std::unique_ptr<Torch> torch_;
};

}  // namespace edgecompress
