// How weights follow their gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

struct OptimizerOptions {
  std::string name = "sgd";    ///< sgd, adam, adamw, lamb
  std::optional<double> lr;    ///< null: 0.01 (sgd), 0.001 (the others)
  double momentum = 0.9;       ///< sgd
  bool nesterov = false;       ///< sgd; needs momentum > 0
  double weight_decay = 1e-4;  ///< not on tensors of one dimension (norms, biases)

  double learning_rate() const { return lr.value_or(name == "sgd" ? 1e-2 : 1e-3); }
};
Options<OptimizerOptions> optimizer_options(const OptimizerOptions& defaults = {});

/// Tensors that train alike.
struct OptimizerGroup {
  std::vector<at::Tensor> parameters;
  double lr_factor = 1;  ///< of the learning rate that step() is given
};

/// With gradient g, weight w and decay d (0 for tensors of one dimension):
///   sgd    g += d w; v = momentum v + g; w -= lr v, or lr (g + momentum v) with nesterov
///   adam   g += d w; w -= lr m / (sqrt(s) + eps), m and s the bias-corrected moving averages of g
///          and g^2 (Kingma & Ba 2015; betas 0.9 and 0.999, eps 1e-8)
///   adamw  w -= lr d w, then as adam without decay (Loshchilov & Hutter 2019, "Decoupled Weight
///          Decay Regularization")
///   lamb   w -= lr (|w| / |u|) u with u = m / (sqrt(s) + eps) + d w; the factor is 1 for tensors
///          of one dimension and where a norm is 0 (You et al. 2020, "Large Batch Optimization for
///          Deep Learning: Training BERT in 76 minutes"; eps 1e-6)
/// A tensor without a gradient is left alone, decay and momentum included.
class Optimizer {
 public:
  /// A tensor that is given twice (tied weights) is trained once, as the first one. Throws
  /// Error(kRecipe) for nesterov without momentum.
  Optimizer(const std::vector<OptimizerGroup>& groups, const OptimizerOptions& options);

  /// Without repetition.
  const std::vector<at::Tensor>& parameters() const { return parameters_; }
  void forget_gradients();
  /// Scales all gradients so that their common 2-norm is at most `largest_norm`.
  void clip_gradients(double largest_norm);
  void step(double lr);

  /// What the steps of a parameter so far left behind.
  struct Memory {
    std::int64_t steps = 0;
    at::Tensor first, second;  ///< v, or m and s before their correction; undefined: none yet
  };
  /// One for each of parameters(), in order; to be stored and put back.
  const std::vector<Memory>& memory() const { return memory_; }
  void remember(const std::vector<Memory>& memory);

 private:
  OptimizerOptions options_;
  std::vector<at::Tensor> parameters_;
  std::vector<double> lr_factors_;
  std::vector<Memory> memory_;
};

}  // namespace edgecompress
