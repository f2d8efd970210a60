// SparseGPT: prunes a matrix and moves what is left so that its outputs stay near.
//
//   Before   W [rows, columns], H = X X^T + damping, X the features the columns are multiplied with
//   After    W' with zeros where the pattern wants them and ||W' X - W X|| small
//   Formula  the columns are taken one by one, blocks of at least 128 at a time. With U the upper
//            Cholesky factor of H^-1 (H^-1 = U^T U) and w the column j:
//              weights go by the smallest w^2 / U_jj^2, chosen block by block
//              e = (w - pruned w) / U_jj, and every later column k loses e U_jk
//            damping is 0.01 of the mean of H's diagonal.
//            Frantar & Alistarh 2023, "SparseGPT: Massive Language Models Can Be Accurately Pruned
//            in One-Shot"; Hassibi & Stork 1992, "Second order derivatives for network pruning:
//            Optimal Brain Surgeon".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "pruning/sparsity_pattern.h"

namespace edgecompress {

/// `matrix`: float [rows, columns]. `products`: X X^T, double [groups, columns, columns], each for
/// rows / groups of the rows. `share` and `run` as in prune_mask(); the pattern is unstructured or
/// n:m. Unstructured, round(share * size) weights are zero afterwards.
/// Throws Error(kPass) if H is too ill-conditioned to be inverted whatever the damping.
at::Tensor prune_with_compensation(const at::Tensor& matrix, const at::Tensor& products,
                                   double share, const SparsityPattern& pattern, std::int64_t run);

}  // namespace edgecompress
