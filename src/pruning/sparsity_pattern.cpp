#include "pruning/sparsity_pattern.h"

#include <ATen/ATen.h>

#include <cmath>

namespace edgecompress {
namespace {

std::int64_t share_of(double share, std::int64_t size) {
  return std::llround(share * static_cast<double>(size));
}

/// Marks the `count` smallest of `scores` in `mask`, both flat; ties by index.
void mark_smallest(const at::Tensor& scores, std::int64_t count, at::Tensor mask) {
  if (count == 0) return;
  const at::Tensor cut = std::get<0>(at::kthvalue(scores, count));
  mask.copy_(scores < cut);
  const std::int64_t missing = count - mask.sum().item<std::int64_t>();
  const at::Tensor ties = (scores == cut).nonzero().flatten().slice(0, 0, missing);
  mask.index_fill_(0, ties, true);
}

/// The same share of each row, rounded so that the rows together lose round(share * size).
at::Tensor mark_smallest_shares(const at::Tensor& scores, double share, RankedWithin within) {
  at::Tensor mask = at::zeros(scores.sizes(), at::kBool);
  if (within == RankedWithin::kMatrix) {
    mark_smallest(scores.flatten(), share_of(share, scores.numel()), mask.flatten());
    return mask;
  }
  std::int64_t marked = 0;
  for (std::int64_t row = 0; row < scores.size(0); ++row) {
    const std::int64_t due = share_of(share, (row + 1) * scores.size(1));
    mark_smallest(scores[row], due - marked, mask[row]);
    marked = due;
  }
  return mask;
}

/// Zeros behind `dim`, up to a multiple of `step`.
at::Tensor pad_to_multiple(const at::Tensor& values, std::int64_t dim, std::int64_t step,
                           double value) {
  const std::int64_t missing = (step - values.size(dim) % step) % step;
  std::vector<std::int64_t> padding(static_cast<std::size_t>(2 * (values.dim() - dim)), 0);
  padding.back() = missing;
  return missing == 0 ? values : at::constant_pad_nd(values, padding, value);
}

/// `scores` [rows, runs, run].
at::Tensor n_of_m_mask(const at::Tensor& scores, std::int64_t n, std::int64_t m) {
  const std::int64_t run = scores.size(2);
  // What is not there goes first, so that a ragged group keeps n too.
  at::Tensor groups = pad_to_multiple(scores, 2, m, -1);
  const auto padded_sizes = groups.sizes().vec();
  groups = groups.reshape({-1, m});
  const at::Tensor order = std::get<1>(at::sort(groups, /*stable=*/true, 1, /*descending=*/false));
  at::Tensor mask = at::zeros(groups.sizes(), at::kBool);
  mask.scatter_(1, order.slice(1, 0, m - n), true);
  return mask.reshape(padded_sizes).slice(2, 0, run);
}

/// `scores` [rows, runs, run].
at::Tensor block_mask(const at::Tensor& scores, double share, const SparsityPattern& pattern,
                      RankedWithin within) {
  const std::int64_t rows = scores.size(0), run = scores.size(2);
  const auto sums = [&](const at::Tensor& values) {
    const at::Tensor padded =
        pad_to_multiple(pad_to_multiple(values, 2, pattern.columns, 0), 0, pattern.rows, 0);
    return padded
        .reshape({padded.size(0) / pattern.rows, pattern.rows, padded.size(1),
                  padded.size(2) / pattern.columns, pattern.columns})
        .sum(at::IntArrayRef({1, 4}));
  };
  const at::Tensor mean_squares = sums(scores.square()) / sums(at::ones_like(scores));
  const auto block_sizes = mean_squares.sizes().vec();
  const at::Tensor mask =
      mark_smallest_shares(mean_squares.reshape({block_sizes[0], -1}), share, within);
  return mask.reshape(block_sizes)
      .repeat_interleave(pattern.rows, 0)
      .repeat_interleave(pattern.columns, 2)
      .slice(0, 0, rows)
      .slice(2, 0, run);
}

}  // namespace

std::string SparsityPattern::to_string() const {
  switch (kind) {
    case Kind::kUnstructured:
      return "unstructured";
    case Kind::kNOfM:
      return std::to_string(n) + ":" + std::to_string(m);
    case Kind::kBlock:
      return "block " + std::to_string(rows) + "x" + std::to_string(columns);
  }
  return "";
}

at::Tensor prune_mask(const at::Tensor& scores, double share, const SparsityPattern& pattern,
                      RankedWithin within, std::int64_t run) {
  if (pattern.kind == SparsityPattern::Kind::kUnstructured)
    return mark_smallest_shares(scores.contiguous(), share, within);
  const at::Tensor runs = scores.reshape({scores.size(0), -1, run});
  const at::Tensor mask = pattern.kind == SparsityPattern::Kind::kNOfM
                              ? n_of_m_mask(runs, pattern.n, pattern.m)
                              : block_mask(runs, share, pattern, within);
  return mask.reshape(scores.sizes());
}

}  // namespace edgecompress
