#include "quantization/adaround.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace edgecompress {
namespace {

constexpr double kStretch = 1.2, kShift = -0.1;  // h = clamp(kStretch sigmoid(V) + kShift, 0, 1)
// Of the loss in steps of each row, by the mean of the products' diagonal: of the order of 1 a
// weight, whatever the layer.
constexpr double kLambda = 0.5;
// How far V can come in all steps together: from one end of h to the other, and some way back.
constexpr double kReach = 10;
constexpr double kDamping = 0.01;
constexpr double kFirstBeta = 20, kLastBeta = 2, kWarmUp = 0.2;

/// Adam (Kingma & Ba 2015) on one tensor, with a gradient that is known in closed form.
class Adam {
 public:
  Adam(const at::Tensor& values, double learning_rate)
      : learning_rate_(learning_rate),
        mean_(at::zeros_like(values)),
        square_(at::zeros_like(values)) {}

  void step(at::Tensor& values, const at::Tensor& gradient) {
    constexpr double kMeanDecay = 0.9, kSquareDecay = 0.999, kEpsilon = 1e-8;
    ++steps_;
    mean_.mul_(kMeanDecay).add_(gradient, 1 - kMeanDecay);
    square_.mul_(kSquareDecay).addcmul_(gradient, gradient, 1 - kSquareDecay);
    const double size = learning_rate_ / (1 - std::pow(kMeanDecay, steps_));
    const at::Tensor deviation = (square_ / (1 - std::pow(kSquareDecay, steps_))).sqrt_();
    values.addcdiv_(mean_, deviation.add_(kEpsilon), -size);
  }

 private:
  double learning_rate_;
  at::Tensor mean_, square_;
  double steps_ = 0;
};

/// The rows of one group, in steps of their scales.
class AdaptiveRounding {
 public:
  AdaptiveRounding(const at::Tensor& in_steps, const at::Tensor& products, const at::Tensor& lacks,
                   std::int64_t largest)
      : weights_(in_steps), products_(products), lacks_(lacks), largest_(largest) {
    const auto limit = static_cast<double>(largest);
    floor_ = weights_.floor().clamp(-limit, limit - 1);
    const at::Tensor rest = (weights_ - floor_).clamp(0.01, 0.99);
    v_ = -(kStretch / (rest - kShift) - 1).log();
  }

  at::Tensor run(std::int64_t iterations) {
    Adam adam(v_, kReach / static_cast<double>(iterations));
    for (std::int64_t i = 0; i < iterations; ++i) {
      const double done = static_cast<double>(i) / static_cast<double>(iterations);
      adam.step(v_, gradient(done));
    }
    const at::Tensor nearest =
        weights_.round().clamp(-static_cast<double>(largest_), static_cast<double>(largest_));
    const at::Tensor learned = polished(floor_ + (v_ >= 0).to(v_.scalar_type()));
    const at::Tensor is_better = loss(learned) < loss(nearest);
    return at::where(is_better.unsqueeze(1), learned, nearest);
  }

 private:
  /// Of each row.
  at::Tensor loss(const at::Tensor& q) const {
    const at::Tensor change = q - weights_;
    return (change * (at::matmul(change, products_) - 2 * lacks_)).sum(1);
  }

  /// Of each row, the weight turns the other way that wins most, until none wins anything.
  at::Tensor polished(at::Tensor q) const {
    constexpr double kLeast = 1e-6;
    at::Tensor slope = (at::matmul(q - weights_, products_) - lacks_) * 2;
    for (std::int64_t turns = 0; turns < q.size(1); ++turns) {
      const at::Tensor step = 1 - 2 * (q - floor_);  // up from the floor, else down to it
      const auto [cost, column] = (step * slope + products_.diagonal()).min(1, /*keepdim=*/true);
      const at::Tensor wins = cost < -kLeast;
      if (!wins.any().item<bool>()) break;
      const at::Tensor turned = step.gather(1, column) * wins;
      q = q.scatter_add(1, column, turned);
      slope.add_(turned * products_.index_select(0, column.squeeze(1)) * 2);
    }
    return q;
  }

  /// By V; `done` of the iterations are behind.
  at::Tensor gradient(double done) const {
    const at::Tensor sigmoid = v_.sigmoid();
    const at::Tensor h = (sigmoid * kStretch + kShift).clamp(0, 1);
    at::Tensor by_h = (at::matmul(floor_ + h - weights_, products_) - lacks_) * 2;
    if (done >= kWarmUp) {
      const double phase = (done - kWarmUp) / (1 - kWarmUp) * std::acos(-1.0);
      const double beta = kLastBeta + 0.5 * (kFirstBeta - kLastBeta) * (1 + std::cos(phase));
      const at::Tensor z = h * 2 - 1;
      by_h.sub_(z.abs().pow(beta - 1) * z.sign() * (2 * kLambda * beta));
    }
    const at::Tensor moves = ((h > 0) & (h < 1)).to(h.scalar_type());
    return by_h * moves * sigmoid * (1 - sigmoid) * kStretch;
  }

  at::Tensor weights_, products_, lacks_, floor_, v_;
  std::int64_t largest_;
};

}  // namespace

at::Tensor round_adaptively(const at::Tensor& matrix, const at::Tensor& scales,
                            const at::Tensor& products, const at::Tensor& lacks, double count,
                            std::int64_t largest, std::int64_t iterations) {
  const std::int64_t groups = products.size(0), rows = matrix.size(0) / groups;
  std::vector<at::Tensor> rounded;
  for (std::int64_t group = 0; group < groups; ++group) {
    const at::Tensor steps = scales.slice(0, group * rows, (group + 1) * rows).unsqueeze(1);
    const at::Tensor own = matrix.slice(0, group * rows, (group + 1) * rows).to(at::kDouble);
    at::Tensor p = products[group] / count;
    const double mean = std::max(p.diagonal().mean().item<double>(), 1e-30);
    p = p / mean;
    p.diagonal().add_(kDamping);
    const at::Tensor lack = lacks[group].t() / (count * mean) / steps;
    AdaptiveRounding rounding((own / steps).to(at::kFloat), p.to(at::kFloat), lack.to(at::kFloat),
                              largest);
    rounded.push_back(rounding.run(iterations).to(at::kDouble));
  }
  return at::cat(rounded);
}

}  // namespace edgecompress
