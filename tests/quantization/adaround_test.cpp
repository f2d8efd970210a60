#include "quantization/adaround.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <limits>

namespace edgecompress {
namespace {

constexpr std::int64_t kColumns = 8, kPositions = 200;

at::Tensor normal(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::kDouble);
}

/// One row over inputs that hang together, and how far outputs are off for rounded weights.
struct Row {
  explicit Row(std::uint64_t seed)
      : x(at::matmul(normal({kColumns, 3}, seed), normal({3, kPositions}, seed + 50)) +
          0.3 * normal({kColumns, kPositions}, seed + 100)),
        weights(normal({1, kColumns}, seed + 150) * 3) {}

  double error(const at::Tensor& q) const {
    return at::matmul(q - weights, x).square().sum().item<double>();
  }
  at::Tensor rounded() const {
    const at::Tensor products = at::matmul(x, x.t()).unsqueeze(0);
    return round_adaptively(weights, at::ones({1}, at::kDouble), products,
                            at::zeros({1, kColumns, 1}, at::kDouble),
                            static_cast<double>(kPositions), 127, 1000);
  }

  at::Tensor x, weights;
};

TEST(AdaRound, ComesNearTheBestOfAllRoundings) {
  double all_found = 0, all_best = 0, all_nearest = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Row row(seed);
    double best = std::numeric_limits<double>::infinity();
    for (int choice = 0; choice < 1 << kColumns; ++choice) {
      at::Tensor q = row.weights.floor();
      for (std::int64_t j = 0; j < kColumns; ++j) {
        if (choice >> j & 1) q.select(1, j).add_(1);
      }
      best = std::min(best, row.error(q));
    }
    const double found = row.error(row.rounded()), nearest = row.error(row.weights.round());
    EXPECT_LE(found, nearest * 1.05) << seed;
    all_found += found;
    all_best += best;
    all_nearest += nearest;
  }
  EXPECT_LT(all_found, 1.7 * all_best);
  EXPECT_LT(all_found, 0.3 * all_nearest);
}

TEST(AdaRound, OnlyRoundsUpOrDownAndStaysInRange) {
  const Row row(3);
  const at::Tensor up = row.rounded() - row.weights.floor();
  EXPECT_TRUE(((up == 0) | (up == 1)).all().item<bool>());
  const at::Tensor large = at::full({2, 4}, 9.7, at::kDouble);
  const at::Tensor q =
      round_adaptively(large, at::ones({2}, at::kDouble), at::eye(4, at::kDouble).unsqueeze(0),
                       at::zeros({1, 4, 2}, at::kDouble), 1, 8, 50);
  EXPECT_TRUE(q.equal(at::full({2, 4}, 8, at::kDouble)));
}

/// What the outputs lack already calls for larger weights, or smaller ones.
TEST(AdaRound, MakesUpForWhatTheInputsLost) {
  const at::Tensor matrix = at::full({1, 4}, 0.5, at::kDouble);
  const at::Tensor products = at::eye(4, at::kDouble).unsqueeze(0);
  const at::Tensor lacks = at::tensor({0.4, -0.4, 0.4, -0.4}, at::kDouble).reshape({1, 4, 1});
  const at::Tensor q =
      round_adaptively(matrix, at::ones({1}, at::kDouble), products, lacks, 1, 127, 500);
  EXPECT_TRUE(q.equal(at::tensor({1.0, 0.0, 1.0, 0.0}, at::kDouble).reshape({1, 4})));
}

}  // namespace
}  // namespace edgecompress
