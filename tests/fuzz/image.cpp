#include "data/image_file.h"

#include <zlib.h>

#include <stdexcept>

#include "fuzz/parts.h"
#include "fuzz/read_whole.h"
#include "fuzz/readers.h"
#include "util/text.h"

namespace edgecompress::fuzz {
namespace {

constexpr std::size_t kSignature = 8, kWord = 4;

std::uint32_t big_endian(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < kWord; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// Each chunk is length, type, data and the checksum of type and data. Without this, every mutation
/// ends at the first checksum.
void mend_checksums(std::string& png) {
  for (std::size_t at = kSignature; at + 3 * kWord <= png.size();) {
    const std::uint32_t length = big_endian(png, at);
    if (length > png.size() - at - 3 * kWord) return;
    const auto* checked = reinterpret_cast<const Bytef*>(png.data() + at + kWord);
    const auto sum = static_cast<std::uint32_t>(::crc32(0, checked, length + kWord));
    at += 2 * kWord + length;
    for (std::size_t i = 0; i < kWord; ++i) png[at++] = static_cast<char>(sum >> (24 - 8 * i));
  }
}

}  // namespace

void read_image(std::string_view input) {
  std::string file(input);
  if (starts_with(file, "\x89PNG")) mend_checksums(file);
  const at::Tensor image = decode_image(memory_file(file));
  if (image.dim() != 3 || image.size(2) != 3 || image.scalar_type() != at::kByte) {
    throw std::logic_error("an image that is not uint8 [height, width, 3]");
  }
  touch(image);
}

}  // namespace edgecompress::fuzz
