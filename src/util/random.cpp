#include "util/random.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace edgecompress {

namespace {

// The finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number
// Generators"): every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t bits) {
  bits += 0x9e3779b97f4a7c15u;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

}  // namespace

double Random::uniform() {
  constexpr double kStep = 1.0 / 9007199254740992.0;  // 2^-53: all a double's mantissa holds
  return static_cast<double>(bits() >> 11) * kStep;
}

std::int64_t Random::index(std::int64_t count) {
  const auto range = static_cast<std::uint64_t>(count);
  // Values from the incomplete last run of `range` would favour small results.
  const std::uint64_t unbiased =
      std::numeric_limits<std::uint64_t>::max() - std::numeric_limits<std::uint64_t>::max() % range;
  std::uint64_t value = bits();
  while (value >= unbiased) value = bits();
  return static_cast<std::int64_t>(value % range);
}

double Random::normal() {
  constexpr double kTwoPi = 6.283185307179586;
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(kTwoPi * uniform());
}

std::vector<std::int64_t> Random::permutation(std::int64_t count) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t last = count - 1; last > 0; --last) {
    std::swap(order[static_cast<std::size_t>(last)],
              order[static_cast<std::size_t>(index(last + 1))]);
  }
  return order;
}

std::uint64_t derive_seed(std::uint64_t seed, std::string_view purpose, std::uint64_t index) {
  std::uint64_t state = mix(seed);
  for (const unsigned char letter : purpose) state = mix(state ^ letter);
  return mix(mix(state ^ purpose.size()) ^ index);
}

}  // namespace edgecompress
