// Seeded random numbers that are the same on every platform and standard library
// (the distributions of <random> are not).
#pragma once

#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace edgecompress {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  /// Uniform in [0, 1).
  double uniform();
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  /// Uniform in [0, count); `count` > 0. Without modulo bias.
  std::int64_t index(std::int64_t count);
  /// Standard normal (Box-Muller).
  double normal();
  bool coin(double probability = 0.5) { return uniform() < probability; }
  /// A permutation of 0 .. count-1 (Fisher-Yates).
  std::vector<std::int64_t> permutation(std::int64_t count);

 private:
  std::mt19937_64 engine_;
};

/// An independent seed for one use of a run's seed: the same (seed, purpose, index) gives the same
/// value, whatever else was drawn before.
std::uint64_t derive_seed(std::uint64_t seed, std::string_view purpose, std::uint64_t index = 0);

}  // namespace edgecompress
