#include "pruning/sparsity_pattern.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

at::Tensor scores_of(const std::vector<float>& values, std::int64_t columns) {
  return at::tensor(values).reshape({-1, columns});
}

void expect_mask(const at::Tensor& mask, const std::vector<int>& expected) {
  EXPECT_TRUE(mask.flatten().to(at::kInt).equal(at::tensor(expected))) << mask.to(at::kInt);
}

SparsityPattern n_of_m(std::int64_t n, std::int64_t m) {
  return {SparsityPattern::Kind::kNOfM, n, m, 1, 1};
}

SparsityPattern blocks(std::int64_t rows, std::int64_t columns) {
  return {SparsityPattern::Kind::kBlock, 2, 4, rows, columns};
}

TEST(SparsityPattern, TakesTheSmallestOfTheMatrixOrOfEachRow) {
  const at::Tensor scores = scores_of({5, 6, 7, 8, 1, 2, 3, 4}, 4);
  expect_mask(prune_mask(scores, 0.5, {}, RankedWithin::kMatrix, 4), {0, 0, 0, 0, 1, 1, 1, 1});
  expect_mask(prune_mask(scores, 0.5, {}, RankedWithin::kRow, 4), {1, 1, 0, 0, 1, 1, 0, 0});
}

TEST(SparsityPattern, BreaksTiesByIndex) {
  const at::Tensor scores = at::ones({2, 3});
  expect_mask(prune_mask(scores, 0.5, {}, RankedWithin::kMatrix, 3), {1, 1, 1, 0, 0, 0});
}

TEST(SparsityPattern, RowsTogetherLoseTheShareToOneWeight) {
  const at::Tensor scores = at::rand({7, 9}, at::detail::createCPUGenerator(1));
  for (const double share : {0.0, 0.1, 0.37, 0.5, 0.99, 1.0}) {
    const at::Tensor mask = prune_mask(scores, share, {}, RankedWithin::kRow, 9);
    EXPECT_EQ(mask.sum().item<std::int64_t>(), std::llround(share * 63));
    const at::Tensor rows = mask.sum(1);
    EXPECT_LE((rows.max() - rows.min()).item<std::int64_t>(), 1);
  }
}

TEST(SparsityPattern, KeepsTheLargestNOfEachM) {
  const at::Tensor scores = scores_of({4, 1, 3, 2, 1, 1, 1, 1}, 4);
  expect_mask(prune_mask(scores, 0, n_of_m(2, 4), RankedWithin::kMatrix, 4),
              {0, 1, 0, 1, 1, 1, 0, 0});
  expect_mask(prune_mask(scores, 0, n_of_m(1, 2), RankedWithin::kMatrix, 4),
              {0, 1, 0, 1, 1, 0, 1, 0});
}

TEST(SparsityPattern, GroupsOfMDoNotReachOverARunAndRaggedOnesKeepN) {
  // Two runs of five columns: groups of four and of one in each.
  const at::Tensor scores = scores_of({1, 2, 3, 4, 0, 4, 3, 2, 1, 0}, 10);
  expect_mask(prune_mask(scores, 0, n_of_m(2, 4), RankedWithin::kMatrix, 5),
              {1, 1, 0, 0, 0, 0, 0, 1, 1, 0});
  // Three columns, of which two stay.
  expect_mask(prune_mask(scores_of({3, 1, 2}, 3), 0, n_of_m(2, 4), RankedWithin::kMatrix, 3),
              {0, 1, 0});
}

TEST(SparsityPattern, BlocksGoWholeByTheirNorm) {
  // Norms of the 2x1 blocks, squared: 1 + 36, 16 + 16, 4 + 4, 0 + 49.
  const at::Tensor scores = scores_of({1, 4, 2, 0, 6, 4, 2, 7}, 4);
  expect_mask(prune_mask(scores, 0.5, blocks(2, 1), RankedWithin::kMatrix, 4),
              {0, 1, 1, 0, 0, 1, 1, 0});
}

TEST(SparsityPattern, RaggedBlocksAreRankedByTheirMean) {
  // 2x2 blocks of [3, 3]: mean squares 1, 4 (of two), 2.25 (of two), 9 (of one).
  const at::Tensor scores = scores_of({1, 1, 2, 1, 1, 2, 1.5, 1.5, 3}, 3);
  expect_mask(prune_mask(scores, 0.5, blocks(2, 2), RankedWithin::kMatrix, 3),
              {1, 1, 0, 1, 1, 0, 1, 1, 0});
}

TEST(SparsityPattern, BlocksDoNotReachOverARun) {
  // Runs of three columns: blocks of two and one. Mean squares 1, 16, 4, 0.
  const at::Tensor scores = scores_of({1, 1, 4, 2, 2, 0}, 6);
  expect_mask(prune_mask(scores, 0.5, blocks(1, 2), RankedWithin::kMatrix, 3), {1, 1, 0, 0, 0, 1});
}

}  // namespace
}  // namespace edgecompress
