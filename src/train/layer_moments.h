// Second moments of what a layer sees and of what its outputs lack, summed over calibration data:
// all that is needed to find the change D of its weights that brings it nearest to a target,
//
//   sum over positions of |m - D x - d|^2  =  tr(D P D^T) - 2 tr(D S) + const      (d at its best)
//   m = target - W x - b      P = sum x x^T      S = sum x m^T      (both about the means)
//
// x: the input features of a position (pixel, token, sample), see weight_matrix.h.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <vector>

#include "model/weight_matrix.h"

namespace edgecompress {

class LayerMoments {
 public:
  /// weight.has_features(); sums over at least 16 positions a column, and no fewer than 16384,
  /// where there are as many.
  explicit LayerMoments(PrunableWeight weight) : weight_(std::move(weight)) {}

  /// Whether the sums would be more than 256 MiB.
  bool is_too_wide() const;

  /// `node` runs on `input`; `target`: [output channels, positions], see rows_of(); `matrix`: what
  /// it multiplies with, [rows, columns], as PrunableWeight has it; `bias`: [rows] or undefined.
  /// `share`: of all that will be added, this.
  void add(const torch::jit::Node& node, const at::Tensor& input, const at::Tensor& target,
           const at::Tensor& matrix, const at::Tensor& bias, double share);

  /// An output of the layer as [output channels, positions], positions as input_features() has
  /// them.
  at::Tensor rows_of(const at::Tensor& output) const;

  double count() const { return count_; }
  /// float64: P [groups, columns, columns] and S [groups, columns, rows of a group].
  at::Tensor products(bool is_centred) const;
  at::Tensor lacks(bool is_centred) const;
  /// The best d for a change D [groups, columns, rows of a group]: E m - D E x, [rows].
  at::Tensor shift(const at::Tensor& change) const;

  const PrunableWeight& weight() const { return weight_; }

 private:
  bool has_batch(const at::Tensor& activation) const;
  at::Tensor sampled(std::int64_t positions, double share) const;
  at::Tensor features_at(const torch::jit::Node& node, const at::Tensor& input,
                         const at::Tensor& positions, std::int64_t all) const;

  PrunableWeight weight_;
  double count_ = 0;
  at::Tensor products_, lacks_;
  at::Tensor sum_, lack_sum_;  // sums of x, as a column, and of m, as a row
};

}  // namespace edgecompress
