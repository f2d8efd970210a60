#include "train/layer_moments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace edgecompress {
namespace {

// Positions that are summed over: so many for each column, and no fewer than that.
constexpr double kPositionsPerColumn = 16, kFewestPositions = 16384;
constexpr std::int64_t kMostSums = std::int64_t{1} << 25;

void accumulate(at::Tensor& sum, const at::Tensor& part) {
  if (!sum.defined()) sum = at::zeros(part.sizes(), at::kDouble);
  sum.add_(part);
}

}  // namespace

bool LayerMoments::is_too_wide() const {
  const std::int64_t k = weight_.columns();
  return k * (weight_.groups * k + weight_.rows()) > kMostSums;
}

void LayerMoments::add(const torch::jit::Node& node, const at::Tensor& input,
                       const at::Tensor& target, const at::Tensor& matrix, const at::Tensor& bias,
                       double share) {
  const at::Tensor positions = sampled(target.size(1), share);
  const auto by_group = [&](const at::Tensor& rows) {
    return rows.to(at::kFloat).reshape({weight_.groups, -1, rows.dim() > 1 ? rows.size(1) : 1});
  };
  const at::Tensor x = features_at(node, input, positions, target.size(1));
  at::Tensor lack = by_group(target.index_select(1, positions)) - at::bmm(by_group(matrix), x);
  if (bias.defined()) lack = lack - by_group(bias);
  accumulate(products_, at::bmm(x, x.transpose(1, 2)));
  accumulate(lacks_, at::bmm(x, lack.transpose(1, 2)));
  accumulate(sum_, x.sum(2, true, at::kDouble));
  accumulate(lack_sum_, lack.sum(2, false, at::kDouble).unsqueeze(1));
  count_ += static_cast<double>(positions.size(0));
}

at::Tensor LayerMoments::rows_of(const at::Tensor& output) const {
  if (weight_.kind == LayerKind::kLinear) return output.reshape({-1, output.size(-1)}).t();
  return has_batch(output) ? output.transpose(0, 1).flatten(1) : output.flatten(1);
}

at::Tensor LayerMoments::products(bool is_centred) const {
  return is_centred ? products_ - at::bmm(sum_, sum_.transpose(1, 2)) / count_ : products_;
}

at::Tensor LayerMoments::lacks(bool is_centred) const {
  return is_centred ? lacks_ - at::bmm(sum_, lack_sum_) / count_ : lacks_;
}

at::Tensor LayerMoments::shift(const at::Tensor& change) const {
  return ((lack_sum_ - at::bmm(sum_.transpose(1, 2), change)) / count_).flatten();
}

bool LayerMoments::has_batch(const at::Tensor& activation) const {
  return activation.dim() == static_cast<std::int64_t>(weight_.sizes.size());
}

/// Evenly spread; as many as the columns call for.
at::Tensor LayerMoments::sampled(std::int64_t positions, double share) const {
  const double in_all =
      std::max(kFewestPositions, kPositionsPerColumn * static_cast<double>(weight_.columns()));
  const auto wanted = static_cast<std::int64_t>(std::ceil(in_all * share));
  if (positions <= wanted) return at::arange(positions, at::kLong);
  const double step = static_cast<double>(positions) / static_cast<double>(wanted);
  return at::arange(wanted, at::kDouble).add(0.5).mul(step).floor().to(at::kLong);
}

/// [groups, columns, sampled positions] of `all` positions.
at::Tensor LayerMoments::features_at(const torch::jit::Node& node, const at::Tensor& input,
                                     const at::Tensor& positions, std::int64_t all) const {
  if (weight_.kind == LayerKind::kLinear) {
    const at::Tensor tokens = input.reshape({-1, weight_.columns()}).index_select(0, positions);
    return input_features(weight_, node, tokens.to(at::kFloat));
  }
  std::vector<at::Tensor> parts;
  std::int64_t first = 0;
  for (const at::Tensor& part : split_for_features(weight_, input, all)) {
    const std::int64_t last = first + all * part.size(0) / input.size(0);
    const at::Tensor inside =
        positions.masked_select((positions >= first) & (positions < last)) - first;
    first = last;
    if (inside.numel() == 0) continue;
    parts.push_back(input_features(weight_, node, part.to(at::kFloat)).index_select(2, inside));
  }
  return at::cat(parts, 2);
}

}  // namespace edgecompress
