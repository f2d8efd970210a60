#include "low_rank/low_rank_approximation.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

namespace edgecompress {
namespace {

at::Tensor normal(const std::vector<std::int64_t>& shape, std::uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::kFloat);
}

PrunableWeight weight_of(const std::vector<std::int64_t>& sizes, std::int64_t groups = 1) {
  PrunableWeight weight;
  weight.kind = sizes.size() == 2 ? LayerKind::kLinear : LayerKind::kConv;
  weight.sizes = sizes;
  weight.groups = groups;
  return weight;
}

double squares(const at::Tensor& values) {
  return values.to(at::kDouble).square().sum().item<double>();
}

/// Squares of the singular values from `rank` on, of each group, by LAPACK's own decomposition.
double tail(const at::Tensor& matrices, std::int64_t rank) {
  const at::Tensor values = at::linalg_svdvals(matrices.to(at::kDouble));
  return values.narrow(-1, rank, values.size(-1) - rank).square().sum().item<double>();
}

struct Shape {
  std::vector<std::int64_t> sizes;
  std::int64_t groups;
};

const std::vector<Shape> kShapes = {
    {{12, 7}, 1}, {{7, 12}, 1}, {{8, 3, 3, 3}, 1}, {{40, 2, 3, 3}, 1}, {{6, 2, 5}, 3}};

TEST(LowRankApproximation, ErrorOfEachRankIsTheTailOfTheSingularValues) {
  for (const Shape& shape : kShapes) {
    const PrunableWeight weight = weight_of(shape.sizes, shape.groups);
    const at::Tensor w = normal(shape.sizes, 3), matrix = weight.to_matrix(w);
    const at::Tensor by_group = matrix.reshape({shape.groups, -1, weight.columns()});
    const LowRankApproximation found(weight, FactorScheme::kChannel, matrix, {});
    ASSERT_EQ(found.full_rank(), std::min(by_group.size(1), by_group.size(2)));
    for (std::int64_t rank = 1; rank <= found.full_rank(); ++rank) {
      const at::Tensor product = product_of(found.factors(rank), weight, FactorScheme::kChannel);
      EXPECT_NEAR(squares(product - w), tail(by_group, rank), 1e-4 * squares(w));
      EXPECT_NEAR(found.lost()[static_cast<std::size_t>(rank)] * squares(w), tail(by_group, rank),
                  1e-6 * squares(w));
    }
    EXPECT_NEAR(found.lost()[0], 1, 1e-12);
    EXPECT_EQ(found.lost().back(), 0);
  }
}

TEST(LowRankApproximation, ErrorOfTheOutputsIsTheTailOfTheirSingularValues) {
  for (const Shape& shape : kShapes) {
    const PrunableWeight weight = weight_of(shape.sizes, shape.groups);
    const at::Tensor w = normal(shape.sizes, 4), matrix = weight.to_matrix(w);
    const at::Tensor b = matrix.reshape({shape.groups, -1, weight.columns()}).to(at::kDouble);
    // Correlated inputs: fewer sources than columns, and a little of everything.
    const std::int64_t k = weight.columns();
    const at::Tensor x = at::bmm(normal({shape.groups, k, 3}, 5), normal({shape.groups, 3, 200}, 6))
                             .add(normal({shape.groups, k, 200}, 7), 0.1)
                             .to(at::kDouble);
    const at::Tensor y = at::bmm(b, x), products = at::bmm(x, x.transpose(1, 2));
    const LowRankApproximation found(weight, FactorScheme::kChannel, matrix, products);
    const LowRankApproximation plain(weight, FactorScheme::kChannel, matrix, {});
    const auto error_of = [&](const LowRankApproximation& approximation, std::int64_t rank) {
      const at::Tensor product =
          product_of(approximation.factors(rank), weight, FactorScheme::kChannel);
      return squares(at::bmm(weight.to_matrix(product).reshape(b.sizes()).to(at::kDouble), x) - y);
    };
    for (std::int64_t rank = 1; rank < found.full_rank(); ++rank) {
      EXPECT_NEAR(error_of(found, rank), tail(y, rank), 1e-4 * squares(y));
      EXPECT_NEAR(found.lost()[static_cast<std::size_t>(rank)] * squares(y), tail(y, rank),
                  1e-4 * squares(y));
      EXPECT_LE(error_of(found, rank), error_of(plain, rank) * (1 + 1e-6));
    }
    if (found.full_rank() > 3) {  // as many as there are sources
      EXPECT_LT(10 * error_of(found, 3), error_of(plain, 3));
    }
  }
}

TEST(LowRankApproximation, SpatialErrorIsTheTailOfKernelRowsAgainstColumns) {
  const std::vector<Shape> shapes = {{{6, 3, 3, 5}, 1}, {{3, 8, 5, 2}, 1}, {{6, 2, 3, 3}, 3}};
  for (const Shape& shape : shapes) {
    const PrunableWeight weight = weight_of(shape.sizes, shape.groups);
    const at::Tensor w = normal(shape.sizes, 8);
    const auto& s = shape.sizes;
    // [groups][(input channel, kernel row)][(output channel, kernel column)], by its definition.
    const std::int64_t out = s[0] / shape.groups;
    at::Tensor rows = at::zeros({shape.groups, s[1] * s[2], out * s[3]});
    for (std::int64_t g = 0; g < shape.groups; ++g) {
      for (std::int64_t o = 0; o < out; ++o) {
        for (std::int64_t i = 0; i < s[1]; ++i) {
          rows[g]
              .slice(0, i * s[2], (i + 1) * s[2])
              .slice(1, o * s[3], (o + 1) * s[3])
              .copy_(w[g * out + o][i]);
        }
      }
    }
    const LowRankApproximation found(weight, FactorScheme::kSpatial, weight.to_matrix(w), {});
    ASSERT_EQ(found.full_rank(), std::min(rows.size(1), rows.size(2)));
    for (std::int64_t rank = 1; rank <= found.full_rank(); ++rank) {
      const FactorPair factors = found.factors(rank);
      const at::Tensor product = product_of(factors, weight, FactorScheme::kSpatial);
      EXPECT_NEAR(squares(product - w), tail(rows, rank), 1e-4 * squares(w));
    }
    const FactorPair two = found.factors(2);
    EXPECT_EQ(two.first.sizes().vec(),
              (std::vector<std::int64_t>{2 * shape.groups, s[1], s[2], 1}));
    EXPECT_EQ(two.second.sizes().vec(), (std::vector<std::int64_t>{s[0], 2, 1, s[3]}));
  }
}

TEST(LowRankApproximation, SpatialSchemeUsesWhatIsKnownOfTheInputs) {
  const PrunableWeight weight = weight_of({6, 4, 3, 3});
  const at::Tensor w = normal({6, 4, 3, 3}, 9), matrix = weight.to_matrix(w);
  // Channel c of every kernel position is 2^-c times as loud, and positions are not related.
  const at::Tensor loudness = at::pow(2.0, -2 * at::arange(4, at::kDouble)).repeat({9});
  const at::Tensor products = loudness.diag().unsqueeze(0);
  const auto error_of = [&](const at::Tensor& known) {
    const LowRankApproximation found(weight, FactorScheme::kSpatial, matrix, known);
    const at::Tensor product = product_of(found.factors(4), weight, FactorScheme::kSpatial);
    return squares((weight.to_matrix(product) - matrix) * loudness.sqrt());
  };
  EXPECT_LT(error_of(products), 0.8 * error_of({}));
}

TEST(LowRankApproximation, FactorsAreBalanced) {
  const PrunableWeight weight = weight_of({5, 9});
  const LowRankApproximation found(weight, FactorScheme::kChannel, 100 * normal({5, 9}, 2), {});
  const FactorPair factors = found.factors(3);
  EXPECT_TRUE(factors.first.square().sum(1).allclose(factors.second.square().sum(0), 1e-3));
}

TEST(LowRankApproximation, TakesAWeightOfZeros) {
  const PrunableWeight weight = weight_of({4, 3, 3, 3});
  for (const FactorScheme scheme : {FactorScheme::kChannel, FactorScheme::kSpatial}) {
    const LowRankApproximation found(weight, scheme, at::zeros({4, 27}), {});
    EXPECT_EQ(found.lost()[0], 0);
    EXPECT_EQ(squares(product_of(found.factors(2), weight, scheme)), 0);
  }
}

TEST(LowRankApproximation, TakesInputsThatWereNeverSeen) {
  // Two of four inputs are always zero: what multiplies with them stays finite.
  const PrunableWeight weight = weight_of({6, 4});
  const at::Tensor products = at::diag(at::tensor({1.0, 2.0, 0.0, 0.0})).unsqueeze(0);
  const LowRankApproximation found(weight, FactorScheme::kChannel, normal({6, 4}, 2), products);
  EXPECT_NEAR(found.lost()[2], 0, 1e-5);
  const FactorPair factors = found.factors(2);
  EXPECT_TRUE(factors.first.isfinite().all().item<bool>());
  EXPECT_TRUE(factors.second.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace edgecompress
