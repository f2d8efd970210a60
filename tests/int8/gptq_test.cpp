#include "int8/gptq.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

at::Tensor normal(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::kDouble);
}

RoundingGrid unit_grid(std::int64_t rows, double scale) {
  return {at::full({rows, 1}, scale, at::kDouble), at::zeros({rows, 1}, at::kDouble), 1 << 20, -127,
          127};
}

TEST(Gptq, IsNearestRoundingWhereInputsAreUncorrelated) {
  const at::Tensor matrix = normal({5, 300}, 1);
  const RoundingGrid grid = unit_grid(5, 0.1);
  EXPECT_TRUE(round_with_compensation(matrix, at::eye(300, at::kDouble).unsqueeze(0), grid)
                  .equal(round_to_nearest(matrix, grid)));
}

/// The first weight, 0.4, becomes 0. With inputs that are nearly equal, the second takes over its
/// part: 0.3 + 0.4 = 0.7 becomes 1.
TEST(Gptq, LetsLaterColumnsMakeUpForEarlierOnes) {
  const at::Tensor matrix = at::tensor({0.4, 0.3}, at::kDouble).reshape({1, 2});
  const at::Tensor products = at::tensor({1.0, 0.999, 0.999, 1.0}, at::kDouble).reshape({1, 2, 2});
  const at::Tensor q = round_with_compensation(matrix, products, unit_grid(1, 1));
  EXPECT_TRUE(q.equal(at::tensor({0.0, 1.0}, at::kDouble).reshape({1, 2})));
}

TEST(Gptq, BringsOutputsNearerThanNearestRounding) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const at::Tensor x = at::matmul(normal({2, 160, 20}, seed), normal({2, 20, 400}, seed + 50)) +
                         0.3 * normal({2, 160, 400}, seed + 100);
    const at::Tensor matrix = normal({8, 160}, seed + 150);
    const RoundingGrid grid = unit_grid(8, 0.2);
    const auto error = [&](const at::Tensor& q) {
      const at::Tensor wrong = (q * 0.2 - matrix).reshape({2, 4, 160});
      return at::bmm(wrong, x).square().sum().item<double>();
    };
    const at::Tensor q = round_with_compensation(matrix, at::bmm(x, x.transpose(1, 2)), grid);
    EXPECT_LT(error(q), 0.6 * error(round_to_nearest(matrix, grid))) << seed;
  }
}

TEST(Gptq, KeepsToTheGridOfEachGroupOfColumns) {
  const at::Tensor matrix =
      at::tensor({0.0, 1.0, 2.0, 10.0, 20.0, 44.0}, at::kDouble).reshape({1, 6});
  const RoundingGrid grid{at::tensor({1.0, 10.0}, at::kDouble).reshape({1, 2}),
                          at::tensor({0.0, 3.0}, at::kDouble).reshape({1, 2}), 3, 0, 6};
  const at::Tensor expected =
      at::tensor({0.0, 1.0, 2.0, 4.0, 5.0, 6.0}, at::kDouble).reshape({1, 6});
  EXPECT_TRUE(round_to_nearest(matrix, grid).equal(expected));
  EXPECT_TRUE(
      round_with_compensation(matrix, at::eye(6, at::kDouble).unsqueeze(0), grid).equal(expected));
}

}  // namespace
}  // namespace edgecompress
