// The recursion of OBS, OBQ, GPTQ and SparseGPT: a weight matrix is given new values column by
// column, and the columns that have not had theirs make up for the error.
//
//   H^-1 = U^T U (Cholesky)      e_j = (w_j - w'_j) / U_jj      w_i -= e_j U_ji  for i > j
//
// H: sum of x x^T over what the matrix multiplies with. Frantar & Alistarh 2023, "SparseGPT:
// Massive Language Models Can Be Accurately Pruned in One-Shot", and Frantar et al. 2023, "GPTQ:
// Accurate Post-Training Quantization for Generative Pre-trained Transformers".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace edgecompress {

class CompensatedColumns {
 public:
  static constexpr std::int64_t kBlockColumns = 128;

  /// `matrix`: float64 [rows, columns], changed in place; `products`: H, float64.
  /// Throws Error(kPass) if H can't be inverted.
  CompensatedColumns(at::Tensor matrix, const at::Tensor& products);

  const at::Tensor& matrix() const { return w_; }
  /// What an error in each of the columns first .. last-1 costs, w_j^2 / U_jj^2, of weights zeroed.
  at::Tensor scores(std::int64_t first, std::int64_t last) const;
  /// Columns first .. last-1 become what `settle` makes of them; the rest makes up for it. Called
  /// with all columns in order; `last` - `first` of about kBlockColumns is fastest.
  void settle(std::int64_t first, std::int64_t last,
              const std::function<at::Tensor(std::int64_t j, const at::Tensor& column)>& settle);

 private:
  at::Tensor w_, u_;
};

}  // namespace edgecompress
