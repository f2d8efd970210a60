// The best approximations of a weight by two smaller ones.
//
// For each group, with the weight as a matrix B (weight_matrix.h) and P = sum x x^T over the inputs
// x that it multiplies with (P = I where they are not known), the approximation A of rank r
//
//   min over A of  sum |B x - A x|^2  =  |(B - A) P^1/2|^2
//
//   channel  A = U U^T B, U being the first r eigenvectors of B P B^T: the principal components of
//            the layer's outputs. Where B has more rows than columns: A = B L V V^T L^-1, with
//            P = L L^T and the eigenvectors V of L^T B^T B L, which is the same.
//   spatial  the same of B seen as a matrix from (kernel row, input channel) to (output channel,
//            kernel column), whose inputs have the second moments of one kernel column, the mean
//            over them: as if neighbouring columns saw unrelated inputs.
//
// Eckart & Young 1936 (P = I); Zhang et al. 2016 (channel); Wang et al. 2024, "SVD-LLM".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "low_rank/factored_layers.h"
#include "model/weight_matrix.h"

namespace edgecompress {

class LowRankApproximation {
 public:
  /// `matrix`: [rows, columns] as PrunableWeight has it; `products`: P, float64 [groups, columns,
  /// columns], or undefined. The scheme must be one of the weight.
  LowRankApproximation(const PrunableWeight& weight, FactorScheme scheme, const at::Tensor& matrix,
                       const at::Tensor& products);

  std::int64_t full_rank() const { return full_rank_; }
  /// sum |B x - A x|^2 / sum |B x|^2 for each rank from 0 (1) to full_rank() (0).
  const std::vector<double>& lost() const { return lost_; }
  /// float32, for `rank` in [1, full_rank()]; what passes between the two is balanced: a row of the
  /// first is as long as its column of the second.
  FactorPair factors(std::int64_t rank) const;

 private:
  void decompose(const at::Tensor& m, const at::Tensor& products);
  void decompose_spatially(const at::Tensor& b, const at::Tensor& products);
  void note(const at::Tensor& first, const at::Tensor& second, const at::Tensor& energies);

  PrunableWeight weight_;
  FactorScheme scheme_;
  // By falling energy: [groups, full rank, from] and [groups, to, full rank].
  at::Tensor first_, second_;
  std::int64_t full_rank_ = 0;
  std::vector<double> lost_;
};

}  // namespace edgecompress
