#include "int8/observer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

namespace edgecompress {
namespace {

at::Tensor normal(std::int64_t count, std::uint64_t seed) {
  return at::randn({count}, at::detail::createCPUGenerator(seed));
}

/// Mean squared error of really quantizing the values.
double squared_error(const at::Tensor& values, const QuantizedRange& range) {
  const at::Tensor quantized =
      at::quantize_per_tensor(values, range.scale, range.zero_point, at::kQUInt8);
  return (quantized.dequantize() - values).pow(2).mean().item<double>();
}

TEST(MinMaxObserver, CoversAllThatItSaw) {
  Observer observer(ObserverKind::kMinMax);
  observer.observe(at::tensor({0.5F, 1.55F}));
  observer.observe(at::tensor({-1.0F, 0.0F}));
  EXPECT_NEAR(observer.range().scale, 0.01, 1e-8);
  EXPECT_EQ(observer.range().zero_point, 100);
}

/// What holds of every observer, with affine ranges and symmetric ones.
class AnyObserver : public ::testing::TestWithParam<std::tuple<ObserverKind, bool>> {
 protected:
  Observer make() const {
    ObserverOptions options;
    std::tie(options.kind, options.is_symmetric) = GetParam();
    return Observer(options);
  }
};

TEST_P(AnyObserver, KnowsThatItSawNothing) {
  Observer observer = make();
  EXPECT_FALSE(observer.has_seen_values());
  observer.observe(at::empty({0}));
  EXPECT_FALSE(observer.has_seen_values());
  observer.observe(at::zeros({4}));
  EXPECT_TRUE(observer.has_seen_values());
  EXPECT_EQ(observer.range().scale, 1.0);
}

TEST_P(AnyObserver, NoticesValuesThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Observer observer = make();
    observer.observe(at::tensor({1.0F, bad}));
    EXPECT_FALSE(observer.is_finite());
  }
}

TEST_P(AnyObserver, ReadsTensorsOfAnyLayout) {
  const at::Tensor values = normal(2 * 3 * 4 * 5, 1).reshape({2, 3, 4, 5});
  Observer plain = make(), strided = make();
  plain.observe(values.slice(3, 0, 5, 2).contiguous());
  strided.observe(values.slice(3, 0, 5, 2));
  EXPECT_EQ(plain.range().scale, strided.range().scale);
}

TEST_P(AnyObserver, NeverCoversMoreThanItSaw) {
  Observer observer = make();
  const at::Tensor values = at::rand({5000}, at::detail::createCPUGenerator(11)) * 6;
  observer.observe(values);
  EXPECT_EQ(observer.range().zero_point, 0) << "never negative";
  EXPECT_LE(observer.range().scale * 255, values.max().item<double>() * 1.000001);
}

TEST_P(AnyObserver, TakesTheLargestNumbersThereAre) {
  Observer observer = make();
  observer.observe(at::tensor({-3.4e38F, 1.0F, 3.4e38F}));
  EXPECT_TRUE(std::isfinite(observer.range().scale));
  EXPECT_GT(observer.range().scale, 1e36);
}

/// Rounding costs at most a step's twelfth of its square; what is cut off must cost less than that
/// gains. Squared error of normal values through 8 bits is at most a few 1e-4 of their power.
TEST_P(AnyObserver, KeepsNormalValuesNearWhatTheyWere) {
  Observer observer = make();
  const at::Tensor values = normal(200000, 12);
  for (const at::Tensor& call : values.chunk(10)) observer.observe(call);
  EXPECT_LT(squared_error(values, observer.range()), 3e-4);
}

TEST_P(AnyObserver, IsSymmetricOnRequestWhereValuesAreNegative) {
  Observer observer = make();
  observer.observe(normal(20000, 13) + 1);
  if (std::get<1>(GetParam())) {
    EXPECT_EQ(observer.range().zero_point, 128);
  } else {
    EXPECT_LT(observer.range().zero_point, 110);
  }
}

INSTANTIATE_TEST_SUITE_P(
    AllKinds, AnyObserver,
    ::testing::Combine(::testing::Values(ObserverKind::kMinMax, ObserverKind::kMovingAverage,
                                         ObserverKind::kPercentile, ObserverKind::kEntropy,
                                         ObserverKind::kHistogram),
                       ::testing::Bool()));

TEST(MovingAverageObserver, AveragesTheEndsOfItsCalls) {
  ObserverOptions options;
  options.kind = ObserverKind::kMovingAverage;
  options.averaging_constant = 0.4;
  Observer observer(options);
  // Ends 2, 4, 12: 2; 2 + 1/2 (4 - 2) = 3; 3 + 0.4 (12 - 3) = 6.6.
  for (const float high : {2.0F, 4.0F, 12.0F}) observer.observe(at::tensor({-1.0F, high}));
  EXPECT_NEAR(observer.range().scale, 7.6 / 255, 1e-6);
  EXPECT_EQ(observer.range().zero_point, 34);  // 1 / (7.6 / 255) = 33.6
}

TEST(PercentileObserver, CountsASampleForWhatItStandsFor) {
  // Of 2^20 values one in 33 is counted; one in a thousand lies at 10.
  ObserverOptions options;
  options.kind = ObserverKind::kPercentile;
  options.percentile = 99.8;
  Observer observer(options);
  at::Tensor values = at::rand({1 << 20}, at::detail::createCPUGenerator(14));
  values.slice(0, 0, 1 << 20, 1000).fill_(10);
  observer.observe(values);
  EXPECT_NEAR(observer.range().scale * 255, 1, 0.01);
}

TEST(SymmetricObserver, CutsOffWhatIsRareAndFarToo) {
  ObserverOptions options;
  options.is_symmetric = true;
  Observer observer(options);
  const at::Tensor values = at::cat({normal(100000, 15), at::tensor({-20.0F})});
  observer.observe(values);
  EXPECT_LT(observer.range().scale * 127, 19);
  EXPECT_LT(squared_error(values, observer.range()),
            squared_error(values, choose_symmetric_range(20)));
}

TEST(HistogramObserver, ClipsWhatIsRareAndFar) {
  Observer minmax(ObserverKind::kMinMax), histogram(ObserverKind::kHistogram);
  std::vector<at::Tensor> calls;
  for (std::uint64_t call = 0; call < 20; ++call) {
    calls.push_back(normal(20000, 20 + call).pow(3));
    minmax.observe(calls.back());
    histogram.observe(calls.back());
  }
  const at::Tensor values = at::cat(calls);
  EXPECT_LT(histogram.range().scale, 0.8 * minmax.range().scale);
  EXPECT_LT(squared_error(values, histogram.range()), squared_error(values, minmax.range()));
}

/// The oracle: every pair of ends on a grid, really quantized.
TEST(HistogramObserver, ComesNearTheBestRangeThereIs) {
  const std::vector<at::Tensor> cases = {
      normal(4000, 3),       normal(4000, 4).relu(),       normal(4000, 5).pow(3),
      normal(4000, 6).exp(), at::sigmoid(normal(4000, 7)), -normal(4000, 8).abs()};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const at::Tensor& values = cases[i];
    double best = std::numeric_limits<double>::infinity();
    for (int low = 0; low <= 40; ++low) {
      for (int high = 0; high <= 40; ++high) {
        best = std::min(
            best, squared_error(values, choose_range(values.min().item<double>() * low / 40,
                                                     values.max().item<double>() * high / 40)));
      }
    }
    Observer observer(ObserverKind::kHistogram);
    observer.observe(values);
    EXPECT_LT(squared_error(values, observer.range()), 1.15 * best) << "case " << i;
  }
}

TEST(HistogramObserver, KeepsItsGripWhenValuesGrowAMillionfold) {
  Observer observer(ObserverKind::kHistogram);
  observer.observe(normal(1000, 9) * 1e-6);
  const at::Tensor large = normal(20000, 10) * 10;
  observer.observe(large);
  Observer direct(ObserverKind::kHistogram);
  direct.observe(large);
  EXPECT_LT(squared_error(large, observer.range()), 1.05 * squared_error(large, direct.range()));
}

}  // namespace
}  // namespace edgecompress
