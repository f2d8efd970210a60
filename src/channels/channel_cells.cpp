#include "channels/channel_cells.h"

#include <ATen/ATen.h>

#include <limits>
#include <numeric>

#include "edgecompress/error.h"

namespace edgecompress {

Cell CellSets::make(std::int64_t count) {
  const std::int64_t first = size();
  if (first + count > std::numeric_limits<Cell>::max()) {
    throw Error(ExitCode::kPass, "the model has too many channel positions to be numbered");
  }
  parent_.resize(static_cast<std::size_t>(first + count));
  std::iota(parent_.begin() + first, parent_.end(), static_cast<Cell>(first));
  reason_.resize(parent_.size(), 0);
  return static_cast<Cell>(first);
}

Cell CellSets::find(Cell cell) const {
  while (parent_[cell] != cell) {
    parent_[cell] = parent_[parent_[cell]];
    cell = parent_[cell];
  }
  return cell;
}

void CellSets::unite(Cell a, Cell b) {
  a = find(a);
  b = find(b);
  if (a == b) return;
  // The older cell leads, so that a group's order is that of the layers.
  if (b < a) std::swap(a, b);
  parent_[b] = a;
  if (reason_[a] == 0) reason_[a] = reason_[b];
}

void CellSets::fix(Cell cell, const std::string& reason) {
  std::int32_t& of_root = reason_[find(cell)];
  if (of_root != 0) return;
  if (reasons_.back() != reason) reasons_.push_back(reason);
  of_root = static_cast<std::int32_t>(reasons_.size() - 1);
}

std::vector<std::int64_t> CellMap::varying_dims() const {
  std::vector<std::int64_t> dims;
  for (std::int64_t dim = 0; dim < cells.dim(); ++dim) {
    if (varies_along(dim)) dims.push_back(dim);
  }
  return dims;
}

CellMap uniform_map(std::vector<std::int64_t> sizes, Cell cell) {
  const std::vector<std::int64_t> ones(sizes.size(), 1);
  return {std::move(sizes), at::full(ones, cell, at::kInt)};
}

CellMap fold(const CellSets& sets, const at::Tensor& cells) {
  at::Tensor folded = cells;
  for (std::int64_t dim = 0; dim < cells.dim(); ++dim) {
    if (folded.size(dim) > 1 && folded.stride(dim) == 0) folded = folded.narrow(dim, 0, 1);
  }
  at::Tensor roots = at::empty(folded.sizes(), at::kInt);
  const at::Tensor source = folded.contiguous();
  const Cell* from = source.data_ptr<Cell>();
  Cell* to = roots.data_ptr<Cell>();
  bool are_fixed = source.numel() > 0;
  for (std::int64_t i = 0; i < source.numel(); ++i) {
    to[i] = sets.find(from[i]);
    are_fixed = are_fixed && sets.is_fixed(to[i]);
  }
  // What all stays needs no telling apart.
  if (are_fixed) return uniform_map(cells.sizes().vec(), to[0]);
  for (std::int64_t dim = 0; dim < roots.dim(); ++dim) {
    if (roots.size(dim) <= 1) continue;
    const at::Tensor first = roots.narrow(dim, 0, 1);
    if (at::equal(roots, first.expand_as(roots))) roots = first;
  }
  return {cells.sizes().vec(), roots.contiguous()};
}

std::vector<Cell> cells_along(const CellMap& map, std::int64_t dim) {
  at::Tensor line = map.cells;
  for (std::int64_t other = 0; other < line.dim(); ++other) {
    if (other != dim) line = line.narrow(other, 0, 1);
  }
  const at::Tensor values = line.expand([&] {
                                  std::vector<std::int64_t> sizes(map.sizes.size(), 1);
                                  sizes[static_cast<std::size_t>(dim)] = map.sizes[dim];
                                  return sizes;
                                }())
                                .contiguous();
  const Cell* first = values.data_ptr<Cell>();
  return {first, first + values.numel()};
}

}  // namespace edgecompress
