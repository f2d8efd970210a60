// What happens to a sample between the file and the model. Declared by one key each in a recipe:
// {"scale": {"divisor": 255}}.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "recipe/options.h"
#include "util/random.h"

namespace edgecompress {

/// One transform, bound to its options. Works on a stacked batch [n, ...] of the first input.
struct Transform {
  std::string name;
  bool is_training_only = false;  ///< random_flip, pad_crop
  std::function<at::Tensor(const at::Tensor& batch, Random& random)> apply;
};

/// Parses a recipe's list. Names: to_float, scale {divisor}, resize {size}, center_crop {size},
/// normalize {mean, std}, layout {from, to}, random_flip {probability}, pad_crop {padding}.
/// Throws Error(kRecipe) at `pointer`.
std::vector<Transform> parse_transforms(const Json& list, const std::string& pointer);

}  // namespace edgecompress
