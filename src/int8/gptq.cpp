#include "int8/gptq.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "model/compensated_columns.h"

namespace edgecompress {
namespace {

RoundingGrid rows_of_grid(const RoundingGrid& grid, std::int64_t first, std::int64_t last) {
  RoundingGrid part = grid;
  part.scales = grid.scales.slice(0, first, last);
  part.zeros = grid.zeros.slice(0, first, last);
  return part;
}

}  // namespace

at::Tensor RoundingGrid::nearest(const at::Tensor& column, std::int64_t j) const {
  const std::int64_t group = j / group_size;
  return (column / scales.select(1, group)).round().add(zeros.select(1, group)).clamp(low, high);
}

at::Tensor RoundingGrid::value(const at::Tensor& q, std::int64_t j) const {
  const std::int64_t group = j / group_size;
  return (q - zeros.select(1, group)) * scales.select(1, group);
}

at::Tensor round_with_compensation(const at::Tensor& matrix, const at::Tensor& products,
                                   const RoundingGrid& grid) {
  const std::int64_t groups = products.size(0), rows = matrix.size(0) / groups;
  const at::Tensor rounded = at::empty(matrix.sizes(), at::kDouble);
  for (std::int64_t group = 0; group < groups; ++group) {
    const std::int64_t first = group * rows, last = first + rows;
    const RoundingGrid own = rows_of_grid(grid, first, last);
    const at::Tensor q = rounded.slice(0, first, last);
    CompensatedColumns columns(matrix.slice(0, first, last).to(at::kDouble).clone(),
                               products[group]);
    for (std::int64_t start = 0, end = 0; start < matrix.size(1); start = end) {
      end = std::min(start + CompensatedColumns::kBlockColumns, matrix.size(1));
      columns.settle(start, end, [&](std::int64_t j, const at::Tensor& column) {
        q.select(1, j).copy_(own.nearest(column, j));
        return own.value(q.select(1, j), j);
      });
    }
  }
  return rounded;
}

at::Tensor round_to_nearest(const at::Tensor& matrix, const RoundingGrid& grid) {
  const auto by_column = [&](const at::Tensor& of_groups) {
    return of_groups.repeat_interleave(grid.group_size, 1).slice(1, 0, matrix.size(1));
  };
  return (matrix.to(at::kDouble) / by_column(grid.scales))
      .round()
      .add(by_column(grid.zeros))
      .clamp(grid.low, grid.high);
}

}  // namespace edgecompress
