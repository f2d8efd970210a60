// Which weights of a matrix go together when it is pruned, and which of them go.
//
//   unstructured   each weight on its own, by the smallest scores
//   n:m            of each m weights along a row's inputs at most n stay, those of largest score
//   block          rows x columns rectangles, by the smallest root mean square of their scores
//                  (their L2 norm, but for ragged blocks at the edges, which have fewer weights)
//
// N:M: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks". Blocks: Narang et al. 2017,
// "Block-Sparse Recurrent Neural Networks".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace edgecompress {

/// Groups and blocks never reach over a run: `run` columns that follow each other are the input
/// channels of one kernel position (of a linear layer: all inputs), see weight_matrix.h.
struct SparsityPattern {
  enum class Kind { kUnstructured, kNOfM, kBlock };
  Kind kind = Kind::kUnstructured;
  std::int64_t n = 2, m = 4;           ///< of kNOfM; 0 <= n <= m
  std::int64_t rows = 1, columns = 1;  ///< of kBlock
  std::string to_string() const;       ///< "2:4", "block 4x1", "unstructured"
};

/// Whose scores are compared with each other.
enum class RankedWithin { kMatrix, kRow };

/// Bool [rows, columns], true where a weight goes. `scores`: float [rows, columns], at least 0.
/// `share` in [0, 1] of the weights goes: exactly round(share * size) of them where each is on its
/// own, that share of the blocks, and it does not matter for n:m. With kRow, each row (each row of
/// blocks) loses the same share, so that the total is the same. Ties go by index.
at::Tensor prune_mask(const at::Tensor& scores, double share, const SparsityPattern& pattern,
                      RankedWithin within, std::int64_t run);

}  // namespace edgecompress
