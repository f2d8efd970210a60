#include "data/image_transforms.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "edgecompress/error.h"
#include "util/random.h"

namespace edgecompress {

at::Tensor resize_images(const at::Tensor& images, ImageSize size) {
  if (images.size(2) == size.height && images.size(3) == size.width) return images;
  const auto resized = at::_upsample_bilinear2d_aa(images.to(at::kFloat), {size.height, size.width},
                                                   /*align_corners=*/false);
  return images.scalar_type() == at::kByte ? resized.round().clamp(0, 255).to(at::kByte) : resized;
}

at::Tensor crop_images(const at::Tensor& images, ImageSize size) {
  const auto height = images.size(2), width = images.size(3);
  if (height < size.height || width < size.width)
    throw Error(ExitCode::kData,
                fmt::format("images of {}x{} can't be cropped to {}x{} (height x width)", height,
                            width, size.height, size.width),
                "resize them first");
  // Halves go to the even side, as torchvision's do.
  const auto top = std::lrint((height - size.height) / 2.0);
  const auto left = std::lrint((width - size.width) / 2.0);
  return images.narrow(2, top, size.height).narrow(3, left, size.width);
}

at::Tensor flip_images(const at::Tensor& images, double probability,
                       const std::vector<std::uint64_t>& seeds) {
  auto flipped = images.clone();
  for (std::size_t i = 0; i < seeds.size(); ++i)
    if (Random(seeds[i]).coin(probability)) flipped[i].copy_(images[i].flip({-1}));
  return flipped;
}

at::Tensor pad_and_crop_images(const at::Tensor& images, std::int64_t padding,
                               const std::vector<std::uint64_t>& seeds) {
  const auto padded = at::constant_pad_nd(images, {padding, padding, padding, padding}, 0);
  auto cropped = at::empty_like(images);
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    Random random(seeds[i]);
    const auto top = random.index(2 * padding + 1), left = random.index(2 * padding + 1);
    cropped[i].copy_(padded[i].narrow(1, top, images.size(2)).narrow(2, left, images.size(3)));
  }
  return cropped;
}

}  // namespace edgecompress
