// Built-in learning tasks whose samples are drawn, not stored: each depends on nothing but the seed
// and its number, so a set of any size costs no memory and no download.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "util/random.h"

namespace edgecompress {

struct SyntheticOptions {
  std::string task = "shapes";
  std::int64_t samples = 4000;
  std::int64_t size = 32;
  std::int64_t length = 64;
  std::int64_t features = 0;
  std::int64_t classes = 0;
  double noise = -1;
  std::int64_t offset = 0;
  std::int64_t seed = 0;
};

struct SyntheticTask {
  std::vector<std::int64_t> shape;  ///< of one sample
  at::ScalarType dtype;
  std::vector<std::string> class_names;  ///< empty: a regression
  /// Fills `sample` (contiguous, of `shape`) for the class `label` (0 in a regression); returns the
  /// target: the label, or the value to regress.
  std::function<double(std::int64_t label, Random& random, at::Tensor& sample)> draw;
};

/// `shapes`: a figure or a pattern of random place, size, tilt and colours on a noisy gradient;
/// uint8 [size, size, 3].
SyntheticTask shapes_task(const SyntheticOptions& options);
/// `sequences`: a wave of random phase, amplitude and frequency; its form and its band are the
/// class; float32 [length, features].
SyntheticTask sequences_task(const SyntheticOptions& options);
/// `vectors`: each class is two Gaussian clouds, so no linear model tells them apart; float32
/// [features].
SyntheticTask vectors_task(const SyntheticOptions& options);
/// `regression`: a fixed random network of one hidden layer gives the value; float32 [features].
SyntheticTask regression_task(const SyntheticOptions& options);

}  // namespace edgecompress
