#include "int8/range_search.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace edgecompress {
namespace {

at::Tensor normal(std::int64_t count, std::uint64_t seed) {
  return at::randn({count}, at::detail::createCPUGenerator(seed));
}

Histogram histogram_of(const at::Tensor& values) {
  Histogram histogram;
  histogram.add(values.data_ptr<float>(), values.numel(), /*first=*/0, /*step=*/1,
                values.min().item<float>(), values.max().item<float>());
  return histogram;
}

TEST(PercentileRange, LeavesHalfOfTheRestOutAtEachEnd) {
  // 1 .. 1000 and their negatives: 1 % of 2000 values is 10 at each end.
  const at::Tensor positive = at::arange(1, 1001, at::kFloat);
  const ValueRange range = percentile_range(histogram_of(at::cat({positive, -positive})), 99);
  EXPECT_NEAR(range.high, 990, 1);
  EXPECT_NEAR(range.low, -990, 1);
}

TEST(PercentileRange, LeavesAllOfTheRestOutAtTheOnlyEnd) {
  const at::Tensor positive = at::arange(1, 1001, at::kFloat);
  EXPECT_NEAR(percentile_range(histogram_of(positive), 99).high, 990, 1);
  EXPECT_EQ(percentile_range(histogram_of(positive), 99).low, 0);
  EXPECT_NEAR(percentile_range(histogram_of(-positive), 99).low, -990, 1);
  EXPECT_EQ(percentile_range(histogram_of(-positive), 99).high, 0);
}

TEST(PercentileRange, CountsZeros) {
  const at::Tensor half = at::cat({at::zeros({1000}), at::arange(1, 1001, at::kFloat)});
  EXPECT_NEAR(percentile_range(histogram_of(half), 99).high, 980, 1) << "1 % of 2000";
}

TEST(PercentileRange, AgreesWithTheQuantileOfTheValues) {
  const at::Tensor values = normal(100000, 1).pow(3);
  for (const double percentile : {90.0, 99.0, 99.9}) {
    const double tail = (1 - percentile / 100) / 2;
    const ValueRange range = percentile_range(histogram_of(values), percentile);
    EXPECT_NEAR(range.low / at::quantile(values, tail).item<double>(), 1, 0.01);
    EXPECT_NEAR(range.high / at::quantile(values, 1 - tail).item<double>(), 1, 0.01);
  }
}

TEST(PercentileRange, KeepsAllAtOneHundred) {
  const at::Tensor values = normal(1000, 2);
  const ValueRange range = percentile_range(histogram_of(values), 100);
  EXPECT_LE(range.low, values.min().item<double>());
  EXPECT_GE(range.high, values.max().item<double>());
}

/// The oracle: the definition, value by value, for one-sided ranges of whole bins.
double divergence_by_definition(const Histogram& histogram, std::size_t end, std::int64_t steps) {
  const auto& counts = histogram.counts();
  std::vector<double> p(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(end)), q(end);
  double outside = 0, inside = 0;
  for (std::size_t i = end; i < counts.size(); ++i) outside += static_cast<double>(counts[i]);
  std::vector<double> sums(static_cast<std::size_t>(steps) + 1), used(sums.size());
  const auto level_of = [&](std::size_t bin) {
    const double position = (static_cast<double>(bin) + 0.5) / static_cast<double>(end);
    return static_cast<std::size_t>(std::llround(position * static_cast<double>(steps)));
  };
  std::size_t last = 0;
  for (std::size_t i = 0; i < end; ++i) {
    if (p[i] == 0) continue;
    sums[level_of(i)] += p[i];
    used[level_of(i)] += 1;
    inside += p[i];
    last = i;
  }
  for (std::size_t i = 0; i < end; ++i) {
    if (p[i] > 0) q[i] = sums[level_of(i)] / used[level_of(i)];
  }
  p[last] += outside;
  double divergence = 0;
  for (std::size_t i = 0; i < end; ++i) {
    const double share = p[i] / (inside + outside);
    if (p[i] > 0) divergence += share * std::log(share / (q[i] / inside));
  }
  return divergence;
}

TEST(LeastDivergence, FindsWhatTheDefinitionFinds) {
  const std::vector<at::Tensor> cases = {normal(200000, 3).abs(), normal(200000, 4).abs().pow(3),
                                         normal(200000, 5).exp(),
                                         at::cat({normal(200000, 6).abs(), at::full({1}, 60.0F)})};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Histogram histogram = histogram_of(cases[i]);
    for (const std::int64_t steps : {127, 255}) {
      const auto at = [&](double high) {
        return divergence_by_definition(
            histogram, static_cast<std::size_t>(std::llround(high / histogram.width())), steps);
      };
      double least = std::numeric_limits<double>::infinity();
      const double largest = cases[i].max().item<double>();
      for (int part = 1; part <= 64; ++part) least = std::min(least, at(largest * part / 64));
      const double found = at(least_divergence(histogram, steps).high);
      EXPECT_LT(found, 1.1 * least + 1e-5) << "case " << i << ", " << steps << " steps";
    }
  }
}

TEST(LeastDivergence, CutsALonelyOutlierOff) {
  const at::Tensor values = at::cat({normal(200000, 7), at::tensor({-1000.0F, 500.0F})});
  const ValueRange range = least_divergence(histogram_of(values), 255);
  EXPECT_GT(range.low, -100);
  EXPECT_LT(range.high, 100);
  EXPECT_LT(range.low, -2);
  EXPECT_GT(range.high, 2);
}

TEST(LeastDivergence, KeepsAllWhereNothingIsLost) {
  const at::Tensor values = at::arange(-100, 156, at::kFloat);
  const ValueRange range = least_divergence(histogram_of(values), 255);
  EXPECT_NEAR(range.low, -100, 0.1);
  EXPECT_NEAR(range.high, 155, 0.1);
}

TEST(RangeSearch, TakesNothingButZeros) {
  const Histogram zeros = histogram_of(at::zeros({9}));
  for (const ValueRange& range : {percentile_range(zeros, 99), least_squared_error(zeros, 255),
                                  least_divergence(zeros, 255)}) {
    EXPECT_EQ(range.low, 0);
    EXPECT_EQ(range.high, 0);
  }
}

TEST(RangeSearch, TakesASingleValue) {
  for (const float value : {3.0F, -3.0F}) {
    const Histogram one = histogram_of(at::full({5}, value));
    for (const ValueRange& range :
         {percentile_range(one, 100), least_squared_error(one, 255), least_divergence(one, 255)}) {
      EXPECT_NEAR(range.high - range.low, 3, 0.01);
    }
  }
}

}  // namespace
}  // namespace edgecompress
