#include "int8/histogram.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

namespace edgecompress {
namespace {

at::Tensor normal(std::int64_t count, std::uint64_t seed) {
  return at::randn({count}, at::detail::createCPUGenerator(seed));
}

void add_all(Histogram& histogram, const at::Tensor& values) {
  histogram.add(values.data_ptr<float>(), values.numel(), /*first=*/0, /*step=*/1,
                values.min().item<float>(), values.max().item<float>());
}

/// The oracle: every value put in its bin by itself, once all have been seen.
void expect_exact(const Histogram& histogram, const at::Tensor& values) {
  std::map<std::int64_t, std::int64_t> expected;
  std::int64_t zeros = 0;
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    const double value = values.data_ptr<float>()[i];
    if (value == 0) {
      ++zeros;
    } else {
      ++expected[static_cast<std::int64_t>(std::floor(value / histogram.width()))];
    }
  }
  std::map<std::int64_t, std::int64_t> counted;
  for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
    if (histogram.counts()[i] > 0)
      counted[histogram.first_bin() + static_cast<std::int64_t>(i)] = histogram.counts()[i];
  }
  EXPECT_EQ(counted, expected);
  EXPECT_EQ(histogram.zeros(), zeros);
  EXPECT_EQ(histogram.total(), values.numel());
}

TEST(Histogram, CountsAsIfItHadKnownAllValuesFromTheStart) {
  std::vector<at::Tensor> calls;
  Histogram histogram;
  for (std::uint64_t call = 0; call < 12; ++call) {
    calls.push_back(normal(3000, call) * std::pow(7.0, static_cast<double>(call % 7)) -
                    static_cast<double>(call));
    calls.back().slice(0, 0, 3000, 10).zero_();
    add_all(histogram, calls.back());
  }
  expect_exact(histogram, at::cat(calls));
}

TEST(Histogram, KeepsItsSizeWhateverItSees) {
  Histogram histogram;
  for (int exponent = -30; exponent < 38; ++exponent) {
    add_all(histogram, normal(1000, 3) * std::pow(10.0, exponent));
    EXPECT_LE(histogram.counts().size(), 16384U);
  }
  add_all(histogram, at::tensor({-3.4e38F, 3.4e38F}));
  EXPECT_LE(histogram.counts().size(), 16384U);
  EXPECT_EQ(histogram.total(), 68 * 1000 + 2);
}

TEST(Histogram, ResolvesWhatOneCallHolds) {
  for (const at::Tensor& values :
       {normal(50, 4), normal(50, 5).abs(), -normal(50, 6).abs() * 1e9}) {
    Histogram histogram;
    add_all(histogram, values);
    EXPECT_GE(values.abs().max().item<double>() / histogram.width(), 4095);
  }
}

TEST(Histogram, CountsASampleForTheValuesThatItStandsFor) {
  const at::Tensor values = at::arange(1, 101, at::kFloat);
  Histogram histogram;
  histogram.add(values.data_ptr<float>(), 100, /*first=*/2, /*step=*/5, 1, 100);
  EXPECT_EQ(histogram.total(), 100);
  const std::int64_t counted =
      std::accumulate(histogram.counts().begin(), histogram.counts().end(), std::int64_t{0});
  EXPECT_EQ(counted, 100);
  const auto bin = static_cast<std::size_t>(std::floor(8 / histogram.width()));
  EXPECT_EQ(histogram.counts()[bin], 5) << "the value 8 is the second of the sample";
}

TEST(Histogram, TakesNothingButZeros) {
  Histogram histogram;
  add_all(histogram, at::zeros({7}));
  EXPECT_TRUE(histogram.counts().empty());
  EXPECT_EQ(histogram.zeros(), 7);
  EXPECT_TRUE(histogram.magnitudes().counts().empty());
}

TEST(Histogram, FoldsIntoMagnitudes) {
  const at::Tensor values = normal(5000, 8) - 0.5;
  Histogram histogram, of_magnitudes;
  add_all(histogram, values);
  const Histogram folded = histogram.magnitudes();
  expect_exact(folded, values.abs());
  EXPECT_EQ(folded.first_bin(), 0);
}

}  // namespace
}  // namespace edgecompress
