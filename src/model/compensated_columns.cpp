#include "model/compensated_columns.h"

#include <ATen/ATen.h>

#include <utility>

#include "edgecompress/error.h"
#include "model/damped_cholesky.h"

namespace edgecompress {
namespace {

constexpr double kDamping = 0.01;  // of the mean of H's diagonal, as the papers have it

/// U of H^-1 = U^T U.
at::Tensor inverse_factor(const at::Tensor& products) {
  const double mean = products.diagonal().mean().item<double>();
  if (const auto lower = damped_cholesky(products, mean > 0 ? kDamping * mean : 1)) {
    const auto [upper, failed] =
        at::linalg_cholesky_ex(at::cholesky_inverse(*lower), /*upper=*/true);
    if (failed.item<int>() == 0) return upper;
  }
  throw Error(ExitCode::kPass, "the inputs of a layer give a matrix that can't be inverted",
              "give more calibration data, or choose a method that doesn't compensate");
}

}  // namespace

CompensatedColumns::CompensatedColumns(at::Tensor matrix, const at::Tensor& products)
    : w_(std::move(matrix)), u_(inverse_factor(products)) {}

at::Tensor CompensatedColumns::scores(std::int64_t first, std::int64_t last) const {
  return (w_.slice(1, first, last) / u_.diagonal().slice(0, first, last)).square();
}

void CompensatedColumns::settle(
    std::int64_t first, std::int64_t last,
    const std::function<at::Tensor(std::int64_t j, const at::Tensor& column)>& settle) {
  at::Tensor errors = at::zeros({w_.size(0), last - first}, w_.options());
  for (std::int64_t j = first; j < last; ++j) {
    at::Tensor column = w_.select(1, j);
    const at::Tensor settled = settle(j, column);
    const at::Tensor error = (column - settled) / u_[j][j];
    w_.slice(1, j, last).sub_(error.unsqueeze(1) * u_[j].slice(0, j, last));
    column.copy_(settled);
    errors.select(1, j - first).copy_(error);
  }
  if (last < w_.size(1)) {
    w_.slice(1, last, w_.size(1))
        .sub_(at::matmul(errors, u_.slice(0, first, last).slice(1, last, w_.size(1))));
  }
}

}  // namespace edgecompress
