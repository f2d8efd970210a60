#include "pruning/sparsegpt.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

/// [columns, samples], correlated as activations are.
at::Tensor correlated_inputs(std::int64_t columns, std::int64_t samples, std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor mix = at::randn({columns, columns / 2}, generator);
  return at::matmul(mix, at::randn({columns / 2, samples}, generator)) +
         0.3 * at::randn({columns, samples}, generator);
}

at::Tensor products_of(const at::Tensor& inputs) {
  const at::Tensor x = inputs.to(at::kDouble);
  return at::matmul(x, x.t()).unsqueeze(0);
}

double output_error(const at::Tensor& pruned, const at::Tensor& matrix, const at::Tensor& inputs) {
  return at::matmul(pruned - matrix, inputs).square().sum().item<double>();
}

/// Optimal brain surgery written out: the inverse of what is left of H is computed anew for each
/// column, and the columns that `mask` names go one by one.
at::Tensor brain_surgery(const at::Tensor& matrix, const at::Tensor& damped,
                         const at::Tensor& mask) {
  at::Tensor w = matrix.to(at::kDouble).clone();
  const std::int64_t columns = w.size(1);
  for (std::int64_t row = 0; row < w.size(0); ++row) {
    for (std::int64_t j = 0; j < columns; ++j) {
      if (!mask[row][j].item<bool>()) continue;
      const at::Tensor inverse =
          at::inverse(damped.slice(0, j, columns).slice(1, j, columns).contiguous());
      at::Tensor rest = w[row].slice(0, j, columns);
      rest.sub_(inverse[0] * (w[row][j] / inverse[0][0]).item<double>());
      w[row][j] = 0;
    }
  }
  return w;
}

TEST(SparseGpt, MovesWhatIsLeftAsTheHandComputedCaseSays) {
  // H = [[2, 1], [1, 2]] with 0.02 of damping; the first weight goes and the second makes up for
  // it: 3 + 1 * 1 / 2.02.
  const at::Tensor products = at::tensor({2.0, 1.0, 1.0, 2.0}, at::kDouble).reshape({1, 2, 2});
  const at::Tensor pruned =
      prune_with_compensation(at::tensor({1.0F, 3.0F}).reshape({1, 2}), products, 0.5, {}, 2);
  EXPECT_EQ(pruned[0][0].item<float>(), 0);
  EXPECT_NEAR(pruned[0][1].item<double>(), 3 + 1 / 2.02, 1e-5);
}

TEST(SparseGpt, IsBrainSurgeryColumnByColumn) {
  const at::Tensor matrix = at::randn({4, 8}, at::detail::createCPUGenerator(3));
  const at::Tensor products = products_of(correlated_inputs(8, 40, 4));
  const at::Tensor pruned = prune_with_compensation(matrix, products, 0.5, {}, 8);
  const double damping = 0.01 * products[0].diagonal().mean().item<double>();
  const at::Tensor damped = products[0] + damping * at::eye(8, at::kDouble);
  const at::Tensor expected = brain_surgery(matrix, damped, pruned == 0);
  EXPECT_TRUE(pruned.to(at::kDouble).allclose(expected, 1e-4, 1e-5)) << pruned << expected;
}

TEST(SparseGpt, HarmsTheOutputsLessThanMagnitudes) {
  const at::Tensor matrix = at::randn({24, 300}, at::detail::createCPUGenerator(5));
  const at::Tensor inputs = correlated_inputs(300, 800, 6);
  for (const double share : {0.5, 0.8}) {
    const at::Tensor pruned = prune_with_compensation(matrix, products_of(inputs), share, {}, 300);
    EXPECT_EQ((pruned == 0).sum().item<std::int64_t>(), std::llround(share * 24 * 300));
    const at::Tensor mask = prune_mask(matrix.abs(), share, {}, RankedWithin::kMatrix, 300);
    EXPECT_LT(output_error(pruned, matrix, inputs),
              0.9 * output_error(matrix.masked_fill(mask, 0), matrix, inputs));
  }
}

TEST(SparseGpt, KeepsNOfEachM) {
  // Runs of 70 columns: the last group of each has two, and blocks of columns end between groups.
  const at::Tensor matrix = at::randn({5, 210}, at::detail::createCPUGenerator(7));
  const SparsityPattern two_of_four{SparsityPattern::Kind::kNOfM, 2, 4, 1, 1};
  const at::Tensor inputs = correlated_inputs(210, 500, 8);
  const at::Tensor pruned =
      prune_with_compensation(matrix, products_of(inputs), 0, two_of_four, 70);
  const at::Tensor zeros = (pruned == 0).reshape({5, 3, 70});
  EXPECT_TRUE(zeros.slice(2, 0, 68).reshape({5, 3, 17, 4}).sum(3).eq(2).all().item<bool>());
  EXPECT_FALSE(zeros.slice(2, 68, 70).any().item<bool>());
  const at::Tensor mask = prune_mask(matrix.abs(), 0, two_of_four, RankedWithin::kMatrix, 70);
  EXPECT_LT(output_error(pruned, matrix, inputs),
            output_error(matrix.masked_fill(mask, 0), matrix, inputs));
}

TEST(SparseGpt, GroupsHaveInputsOfTheirOwnAndShareTheRounding) {
  const at::Tensor matrix = at::randn({6, 9}, at::detail::createCPUGenerator(9));
  std::vector<at::Tensor> products;
  for (std::uint64_t group = 0; group < 6; ++group)
    products.push_back(products_of(correlated_inputs(9, 50, group)));
  const at::Tensor pruned = prune_with_compensation(matrix, at::cat(products), 0.5, {}, 1);
  EXPECT_EQ((pruned == 0).sum().item<std::int64_t>(), 27);
  for (std::int64_t group = 0; group < 6; ++group) {
    const at::Tensor row = pruned[group] == 0;
    const double damping = 0.01 * products[group][0].diagonal().mean().item<double>();
    const at::Tensor expected =
        brain_surgery(matrix.slice(0, group, group + 1),
                      products[group][0] + damping * at::eye(9, at::kDouble), row.unsqueeze(0));
    EXPECT_TRUE(pruned[group].to(at::kDouble).allclose(expected[0], 1e-4, 1e-5));
  }
}

TEST(SparseGpt, InputsThatAreAlwaysZeroGoFirst) {
  at::Tensor inputs = correlated_inputs(8, 40, 10);
  inputs.slice(0, 0, 4).zero_();
  const at::Tensor pruned =
      prune_with_compensation(at::ones({3, 8}), products_of(inputs), 0.5, {}, 8);
  EXPECT_EQ(pruned.slice(1, 0, 4).count_nonzero().item<std::int64_t>(), 0);
  EXPECT_TRUE(pruned.slice(1, 4, 8).allclose(at::ones({3, 4})));
  // Nothing but zeros: what goes can't be told apart, but it works.
  const at::Tensor blind =
      prune_with_compensation(at::ones({3, 8}), at::zeros({1, 8, 8}, at::kDouble), 0.5, {}, 8);
  EXPECT_EQ(blind.count_nonzero().item<std::int64_t>(), 12);
}

}  // namespace
}  // namespace edgecompress
