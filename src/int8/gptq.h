// GPTQ: rounds a matrix column by column; later columns make up for what rounding did to earlier
// ones, so that its outputs stay near (see compensated_columns.h). Frantar et al. 2023, "GPTQ:
// Accurate Post-Training Quantization for Generative Pre-trained Transformers".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace edgecompress {

/// What numbers a matrix may take: scale * (q - zero), low <= q <= high, one scale and zero for
/// each row and each `group_size` columns that follow each other.
struct RoundingGrid {
  at::Tensor scales;  ///< float64 [rows, groups of columns]
  at::Tensor zeros;   ///< float64, the same; whole numbers
  std::int64_t group_size = 0;
  double low = 0, high = 0;

  /// The nearest q of a column j, float64 [rows].
  at::Tensor nearest(const at::Tensor& column, std::int64_t j) const;
  at::Tensor value(const at::Tensor& q, std::int64_t j) const;
};

/// `matrix`: [rows, columns]; `products`: sum of x x^T, float64 [groups, columns, columns], each
/// for rows / groups of the rows. Returns q, float64 [rows, columns].
/// Throws Error(kPass) if the products can't be inverted whatever the damping.
at::Tensor round_with_compensation(const at::Tensor& matrix, const at::Tensor& products,
                                   const RoundingGrid& grid);
/// Each weight for itself.
at::Tensor round_to_nearest(const at::Tensor& matrix, const RoundingGrid& grid);

}  // namespace edgecompress
