#include "low_rank/low_rank_approximation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/damped_cholesky.h"

namespace edgecompress {
namespace {

// In means of the diagonal: so little that it only matters where nothing was seen.
constexpr double kWhiteningDamping = 1e-6;

struct Components {
  at::Tensor energies;  ///< [groups, n], falling
  at::Tensor vectors;   ///< [groups, n, n], a column each
};

/// Of symmetric matrices [groups, n, n].
Components components_of(const at::Tensor& gram) {
  const auto [values, vectors] = at::linalg_eigh(gram);
  return {values.flip({1}).clamp_min(0), vectors.flip({2})};
}

/// L of P + damping I = L L^T, of each group; the identity where it has none.
at::Tensor whitening(const at::Tensor& products) {
  std::vector<at::Tensor> lower;
  for (const at::Tensor& own : products.unbind()) {
    const double mean = own.diagonal().mean().item<double>();
    const auto factor = damped_cholesky(own, mean > 0 ? kWhiteningDamping * mean : 1);
    lower.push_back(factor ? *factor : at::eye(own.size(0), own.options()));
  }
  return at::stack(lower);
}

at::Tensor transposed(const at::Tensor& matrices) { return matrices.transpose(1, 2); }

/// X L^-1.
at::Tensor over(const at::Tensor& x, const at::Tensor& lower) {
  return lower.defined() ? at::linalg_solve_triangular(lower, x, /*upper=*/false, /*left=*/false)
                         : x;
}

}  // namespace

LowRankApproximation::LowRankApproximation(const PrunableWeight& weight, FactorScheme scheme,
                                           const at::Tensor& matrix, const at::Tensor& products)
    : weight_(weight), scheme_(scheme) {
  const at::Tensor b = matrix.to(at::kDouble).reshape({weight.groups, -1, weight.columns()});
  if (scheme == FactorScheme::kChannel) {
    decompose(b, products);
  } else {
    decompose_spatially(b, products);
  }
}

/// Of matrices M [groups, m, n] that multiply inputs with the second moments P, or I where that is
/// undefined: M = second x first.
void LowRankApproximation::decompose(const at::Tensor& m, const at::Tensor& products) {
  if (m.size(1) <= m.size(2)) {
    const at::Tensor seen = products.defined() ? at::bmm(m, products) : m;
    const Components outputs = components_of(at::bmm(seen, transposed(m)));
    note(at::bmm(transposed(outputs.vectors), m), outputs.vectors, outputs.energies);
  } else {
    const at::Tensor lower = products.defined() ? whitening(products) : at::Tensor();
    const at::Tensor seen = lower.defined() ? at::bmm(m, lower) : m;
    const Components inputs = components_of(at::bmm(transposed(seen), seen));
    note(over(transposed(inputs.vectors), lower), at::bmm(seen, inputs.vectors), inputs.energies);
  }
}

void LowRankApproximation::decompose_spatially(const at::Tensor& b, const at::Tensor& products) {
  const std::int64_t groups = weight_.groups, in = weight_.sizes[1], height = weight_.sizes[2],
                     width = weight_.sizes[3];
  // [out x kernel columns, kernel rows x in]
  const at::Tensor m = b.reshape({groups, -1, height, width, in})
                           .permute({0, 1, 3, 2, 4})
                           .reshape({groups, -1, height * in});
  if (!products.defined()) return decompose(m, products);
  const at::Tensor of_columns =
      products.reshape({groups, height, width, in, height, width, in}).diagonal(0, 2, 5);
  decompose(m, of_columns.mean(-1).reshape({groups, height * in, height * in}));
}

void LowRankApproximation::note(const at::Tensor& first, const at::Tensor& second,
                                const at::Tensor& energies) {
  full_rank_ = std::min(first.size(2), second.size(1));
  first_ = first.narrow(1, 0, full_rank_).to(at::kFloat);
  second_ = second.narrow(2, 0, full_rank_).to(at::kFloat);
  const at::Tensor of_all = energies.sum(0).contiguous();
  const double* energy = of_all.data_ptr<double>();
  const double all = of_all.sum().item<double>();
  lost_.assign(static_cast<std::size_t>(full_rank_) + 1, 0);
  for (std::size_t rank = lost_.size() - 1; rank-- > 0;)
    lost_[rank] = lost_[rank + 1] + (all > 0 ? energy[rank] / all : 0);
}

FactorPair LowRankApproximation::factors(std::int64_t rank) const {
  at::Tensor first = first_.narrow(1, 0, rank), second = second_.narrow(2, 0, rank);
  const at::Tensor of_first = first.square().sum(2).sqrt(),
                   of_second = second.square().sum(1).sqrt();
  const at::Tensor balance =
      at::where((of_first > 0) & (of_second > 0), (of_second / of_first).sqrt(), 1.0);
  first = first * balance.unsqueeze(2);
  second = second / balance.unsqueeze(1);

  PrunableWeight reducing = weight_;
  reducing.sizes[0] = weight_.groups * rank;
  std::vector<std::int64_t> expanding(weight_.sizes.size(), 1);
  expanding[0] = weight_.rows();
  expanding[1] = rank;
  if (scheme_ == FactorScheme::kSpatial) {
    reducing.sizes[3] = 1;
    expanding[3] = weight_.sizes[3];
    second = second.reshape({weight_.rows(), -1, rank}).transpose(1, 2);
  }
  return {reducing.from_matrix(first), second.reshape(expanding).contiguous()};
}

}  // namespace edgecompress
