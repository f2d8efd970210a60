// JPEG and PNG files as tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>

namespace edgecompress {

/// Has `path` the ending of an image we decode (.jpg, .jpeg, .png, in any case)?
bool is_image_file(const std::filesystem::path& path);

/// The image as uint8 [height, width, 3], RGB. Grey becomes RGB, transparency is dropped, 16 bits
/// become 8, a rotation in EXIF is not applied (as PIL and torchvision leave it). What it is is
/// told by its first bytes. Throws Error(kData) naming the file if it is damaged, cut off, of
/// another kind, or larger than 64 MB or 64 megapixels.
at::Tensor decode_image(const std::filesystem::path& path);

}  // namespace edgecompress
