#include "pruning/sparsegpt.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "model/compensated_columns.h"

namespace edgecompress {
namespace {

/// Prunes the rows of one group.
class ColumnByColumn {
 public:
  ColumnByColumn(const at::Tensor& weights, const at::Tensor& products,
                 const SparsityPattern& pattern, std::int64_t run)
      : columns_(weights, products), pattern_(pattern), run_(run) {}

  /// Of the first `j` columns, due(rows * j) weights go.
  template <class Due>
  at::Tensor run(const Due& due) {
    const std::int64_t columns = columns_.matrix().size(1);
    for (std::int64_t first = 0, last = 0; first < columns; first = last) {
      last = block_end(first);
      if (is_n_of_m()) {
        prune_groups(first, last);
      } else {
        const at::Tensor mask = choose(first, last, due(last) - due(first));
        columns_.settle(first, last, [&](std::int64_t j, const at::Tensor& column) {
          return column.masked_fill(mask.select(1, j - first), 0);
        });
      }
    }
    return columns_.matrix();
  }

 private:
  bool is_n_of_m() const { return pattern_.kind == SparsityPattern::Kind::kNOfM; }

  /// Blocks end where groups of m do.
  std::int64_t block_end(std::int64_t first) const {
    const std::int64_t columns = columns_.matrix().size(1);
    std::int64_t last = std::min(first + CompensatedColumns::kBlockColumns, columns);
    while (is_n_of_m() && last < columns && !starts_group(last)) ++last;
    return last;
  }
  bool starts_group(std::int64_t column) const { return column % run_ % pattern_.m == 0; }

  at::Tensor choose(std::int64_t first, std::int64_t last, std::int64_t count) const {
    const double share = static_cast<double>(count) /
                         static_cast<double>(columns_.matrix().size(0) * (last - first));
    return prune_mask(columns_.scores(first, last), share, {}, RankedWithin::kMatrix, last - first);
  }
  at::Tensor choose_group(std::int64_t first) const {
    const std::int64_t end_of_run = (first / run_ + 1) * run_;
    const std::int64_t last = std::min(first + pattern_.m, end_of_run);
    return prune_mask(columns_.scores(first, last), 0, pattern_, RankedWithin::kRow, last - first);
  }

  void prune_groups(std::int64_t first, std::int64_t last) {
    at::Tensor mask;
    std::int64_t group_first = first;
    columns_.settle(first, last, [&](std::int64_t j, const at::Tensor& column) {
      if (starts_group(j)) {
        mask = choose_group(j);
        group_first = j;
      }
      return column.masked_fill(mask.select(1, j - group_first), 0);
    });
  }

  CompensatedColumns columns_;
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
    ColumnByColumn columns(weights.clone(), products[group], pattern, run);
    pruned.push_back(columns.run([&](std::int64_t column) {
      const std::int64_t before = group * rows * matrix.size(1) + rows * column;
      return std::llround(share * static_cast<double>(before));
    }));
  }
  return at::cat(pruned, 0).to(at::kFloat);
}

}  // namespace edgecompress
