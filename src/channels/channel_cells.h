// Which positions of a network's tensors must stay or go together.
//
// A cell is one such position: a channel of a layer, an element of a parameter that channels are
// multiplied with. Cells that depend on each other are united; a cell that can't go is fixed, with
// the reason. What hangs on what in one tensor is told by its CellMap.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace edgecompress {

using Cell = std::int32_t;

/// Disjoint sets of cells (Tarjan 1975), each with the reason why it is fixed, if it is.
class CellSets {
 public:
  /// The first of `count` new cells. Throws Error(kPass) when there are too many to number.
  Cell make(std::int64_t count);
  Cell find(Cell cell) const;
  void unite(Cell a, Cell b);
  /// The first reason stays.
  void fix(Cell cell, const std::string& reason);
  bool is_fixed(Cell cell) const { return reason_[find(cell)] != 0; }
  const std::string& reason(Cell cell) const { return reasons_[reason_[find(cell)]]; }
  std::int64_t size() const { return static_cast<std::int64_t>(parent_.size()); }

 private:
  mutable std::vector<Cell> parent_;  // paths are halved while they are walked
  std::vector<std::int32_t> reason_;  // of roots; 0: not fixed
  std::vector<std::string> reasons_{""};
};

/// For each element of a tensor the cell that it hangs on.
struct CellMap {
  std::vector<std::int64_t> sizes;  ///< of the tensor
  /// int32, as many dimensions; of size 1 along those in which the cell does not change.
  at::Tensor cells;

  bool varies_along(std::int64_t dim) const { return cells.size(dim) > 1; }
  std::vector<std::int64_t> varying_dims() const;
  /// The cells as a tensor of `sizes`.
  at::Tensor expanded() const { return cells.expand(sizes); }
};

/// A map in which every element of a tensor of `sizes` hangs on the same cell.
CellMap uniform_map(std::vector<std::int64_t> sizes, Cell cell);
/// From a cell for each element: the roots, with the dimensions folded along which they are equal.
CellMap fold(const CellSets& sets, const at::Tensor& cells);
/// The cells along dimension `dim`, where they vary along no other.
std::vector<Cell> cells_along(const CellMap& map, std::int64_t dim);

}  // namespace edgecompress
