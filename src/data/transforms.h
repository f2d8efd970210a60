// What happens to a sample between the file and the model. Declared by one key each in a recipe:
// {"scale": {"divisor": 255}}.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "recipe/options.h"

namespace edgecompress {

/// One transform, bound to its options. Works on a stacked batch [n, ...] of the first input.
struct Transform {
  std::string name;
  bool is_training_only = false;  ///< random_flip, pad_crop
  bool sets_size =
      false;  ///< resize, center_crop: samples before it may differ in height and width
  /// `seeds` holds one seed a sample for a training-only transform, else nothing.
  std::function<at::Tensor(const at::Tensor& batch, const std::vector<std::uint64_t>& seeds)> apply;
};

/// Parses a recipe's list. They work on the first input and are applied in the order given:
///   to_float                float32, values unchanged
///   scale {divisor}         float32, value / divisor
///   normalize {mean, std}   float32, (value - mean) / std; one number, or one for each channel
///   layout {from, to}       moves the channels: NHWC, NCHW, NHW (no channel dimension), NLC, NCL
///   resize {size}           bilinear with antialiasing; [height, width], or the shorter side
///   center_crop {size}      [height, width], or one number for both
///   random_flip {probability}  training only: left and right change places
///   pad_crop {padding}      training only: zeros around, then a random crop of the first size
/// Where the channels, height and width are is never guessed: before a `layout` they are as its
/// `from` says, after it as its `to` says; in a list without `layout` as the model takes them,
/// NCHW. The last four need images; uint8 stays uint8 through them. Throws Error(kRecipe) at
/// `pointer`; the transforms throw Error(kData) for samples that don't fit.
std::vector<Transform> parse_transforms(const Json& list, const std::string& pointer);

}  // namespace edgecompress
