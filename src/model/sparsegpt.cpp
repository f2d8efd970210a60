#include "model/sparsegpt.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "edgecompress/error.h"
#include "model/damped_cholesky.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kBlockColumns = 128;
constexpr double kDamping = 0.01;  // of the mean of H's diagonal, as the paper has it

/// U of H^-1 = U^T U.
at::Tensor inverse_factor(const at::Tensor& products) {
  const double mean = products.diagonal().mean().item<double>();
  if (const auto lower = damped_cholesky(products, mean > 0 ? kDamping * mean : 1)) {
    const auto [upper, failed] =
        at::linalg_cholesky_ex(at::cholesky_inverse(*lower), /*upper=*/true);
    if (failed.item<int>() == 0) return upper;
  }
  throw Error(ExitCode::kPass, "the inputs of a layer give a matrix that can't be inverted",
              "give more calibration data, or use \"criterion\": \"wanda\"");
}

/// Prunes the rows of one group; `W` and `U` as in the formula.
class ColumnByColumn {
 public:
  ColumnByColumn(at::Tensor weights, at::Tensor factor, const SparsityPattern& pattern,
                 std::int64_t run)
      : w_(std::move(weights)), u_(std::move(factor)), pattern_(pattern), run_(run) {}

  /// Of the first `j` columns, due(rows * j) weights go.
  template <class Due>
  at::Tensor run(const Due& due) {
    const std::int64_t columns = w_.size(1);
    for (std::int64_t first = 0, last = 0; first < columns; first = last) {
      last = block_end(first);
      at::Tensor mask;
      if (!is_n_of_m()) mask = choose(first, last, due(last) - due(first));
      prune_block(first, last, mask);
    }
    return w_;
  }

 private:
  bool is_n_of_m() const { return pattern_.kind == SparsityPattern::Kind::kNOfM; }

  /// Blocks end where groups of m do.
  std::int64_t block_end(std::int64_t first) const {
    const std::int64_t columns = w_.size(1);
    std::int64_t last = std::min(first + kBlockColumns, columns);
    while (is_n_of_m() && last < columns && !starts_group(last)) ++last;
    return last;
  }
  bool starts_group(std::int64_t column) const { return column % run_ % pattern_.m == 0; }

  at::Tensor scores(std::int64_t first, std::int64_t last) const {
    return (w_.slice(1, first, last) / u_.diagonal().slice(0, first, last)).square();
  }
  at::Tensor choose(std::int64_t first, std::int64_t last, std::int64_t count) const {
    const double share =
        static_cast<double>(count) / static_cast<double>(w_.size(0) * (last - first));
    return prune_mask(scores(first, last), share, {}, RankedWithin::kMatrix, last - first);
  }
  at::Tensor choose_group(std::int64_t first) const {
    const std::int64_t end_of_run = (first / run_ + 1) * run_;
    const std::int64_t last = std::min(first + pattern_.m, end_of_run);
    return prune_mask(scores(first, last), 0, pattern_, RankedWithin::kRow, last - first);
  }

  void prune_block(std::int64_t first, std::int64_t last, const at::Tensor& block_mask) {
    at::Tensor errors = at::zeros({w_.size(0), last - first}, w_.options());
    at::Tensor group_mask;
    std::int64_t group_first = first;
    for (std::int64_t j = first; j < last; ++j) {
      if (is_n_of_m() && starts_group(j)) {
        group_mask = choose_group(j);
        group_first = j;
      }
      const at::Tensor goes =
          is_n_of_m() ? group_mask.select(1, j - group_first) : block_mask.select(1, j - first);
      at::Tensor column = w_.select(1, j);
      const at::Tensor error = column.masked_fill(goes.logical_not(), 0) / u_[j][j];
      w_.slice(1, j, last).sub_(error.unsqueeze(1) * u_[j].slice(0, j, last));
      column.masked_fill_(goes, 0);
      errors.select(1, j - first).copy_(error);
    }
    if (last < w_.size(1)) {
      w_.slice(1, last, w_.size(1))
          .sub_(at::matmul(errors, u_.slice(0, first, last).slice(1, last, w_.size(1))));
    }
  }

  at::Tensor w_, u_;
  const SparsityPattern& pattern_;
  std::int64_t run_;
};

}  // namespace

at::Tensor prune_with_compensation(const at::Tensor& matrix, const at::Tensor& products,
                                   double share, const SparsityPattern& pattern, std::int64_t run) {
  const std::int64_t groups = products.size(0), rows = matrix.size(0) / groups;
  std::vector<at::Tensor> pruned;
  for (std::int64_t group = 0; group < groups; ++group) {
    const at::Tensor weights = matrix.slice(0, group * rows, (group + 1) * rows).to(at::kDouble);
    ColumnByColumn columns(weights.clone(), inverse_factor(products[group]), pattern, run);
    pruned.push_back(columns.run([&](std::int64_t column) {
      const std::int64_t before = group * rows * matrix.size(1) + rows * column;
      return std::llround(share * static_cast<double>(before));
    }));
  }
  return at::cat(pruned, 0).to(at::kFloat);
}

}  // namespace edgecompress
