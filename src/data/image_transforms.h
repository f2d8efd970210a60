// The arithmetic of the image transforms, on batches [n, channels, height, width] of any memory
// layout; uint8 stays uint8.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace edgecompress {

struct ImageSize {
  std::int64_t height = 0, width = 0;
};

/// Bilinear, with antialiasing where it shrinks (as torchvision's antialias=True).
at::Tensor resize_images(const at::Tensor& images, ImageSize size);

/// The middle of each image. Throws Error(kData) if they are smaller.
at::Tensor crop_images(const at::Tensor& images, ImageSize size);

/// Mirrors the images whose seed says so, left to right.
at::Tensor flip_images(const at::Tensor& images, double probability,
                       const std::vector<std::uint64_t>& seeds);

/// Puts `padding` zeros around each image and cuts the first size out again, at a place that the
/// image's seed chooses (He et al., "Deep Residual Learning", 2015, section 4.2).
at::Tensor pad_and_crop_images(const at::Tensor& images, std::int64_t padding,
                               const std::vector<std::uint64_t>& seeds);

}  // namespace edgecompress
