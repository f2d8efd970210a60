#include "data/image_file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spng.h>
#include <turbojpeg.h>

#include <algorithm>
#include <memory>

#include "edgecompress/error.h"
#include "util/file.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kLargestFile = 64 << 20;
constexpr std::int64_t kMostPixels = 64 << 20;
/// Of a PNG's text and colour profile chunks, which we don't use.
constexpr std::size_t kLargestChunk = 8 << 20;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw Error(ExitCode::kData, fmt::format("{}: {}", path.string(), what),
              "mend or remove the file");
}

at::Tensor new_image(const std::filesystem::path& path, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1) fail(path, "damaged: an image without a size");
  if (height > kMostPixels / width)
    fail(path, fmt::format("an image of {}x{}, more than {} megapixels", width, height,
                           kMostPixels >> 20));
  return at::empty({height, width, 3}, at::kByte);
}

at::Tensor decode_jpeg(const std::filesystem::path& path, const std::string& content) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (!decoder) fail(path, "no JPEG decoder");
  const auto* bytes = reinterpret_cast<const unsigned char*>(content.data());
  int width = 0, height = 0, subsampling = 0, colors = 0;
  if (tjDecompressHeader3(decoder.get(), bytes, content.size(), &width, &height, &subsampling,
                          &colors) != 0)
    fail(path, fmt::format("damaged JPEG: {}", tjGetErrorStr2(decoder.get())));
  if (colors == TJCS_CMYK || colors == TJCS_YCCK) fail(path, "a CMYK JPEG, expected RGB or grey");
  auto image = new_image(path, height, width);
  const int status =
      tjDecompress2(decoder.get(), bytes, content.size(), image.data_ptr<std::uint8_t>(), width,
                    /*pitch=*/0, height, TJPF_RGB, TJFLAG_ACCURATEDCT);
  if (status == 0) return image;
  // Bytes too many between two markers harm nobody and are common; all else means lost pixels.
  const std::string why = tjGetErrorStr2(decoder.get());
  if (tjGetErrorCode(decoder.get()) == TJERR_WARNING &&
      why.find("extraneous bytes") != std::string::npos)
    return image;
  fail(path, "damaged JPEG: " + why);
}

at::Tensor decode_png(const std::filesystem::path& path, const std::string& content) {
  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> decoder(spng_ctx_new(0), spng_ctx_free);
  if (!decoder) fail(path, "no PNG decoder");
  const auto check = [&](int status) {
    if (status != 0) fail(path, fmt::format("damaged PNG: {}", spng_strerror(status)));
  };
  check(spng_set_chunk_limits(decoder.get(), kLargestChunk, 2 * kLargestChunk));
  check(spng_set_png_buffer(decoder.get(), content.data(), content.size()));
  spng_ihdr header{};
  check(spng_get_ihdr(decoder.get(), &header));
  auto image = new_image(path, header.height, header.width);
  check(spng_decode_image(decoder.get(), image.data_ptr(), image.nbytes(), SPNG_FMT_RGB8, 0));
  return image;
}

}  // namespace

bool is_image_file(const std::filesystem::path& path) {
  auto ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

at::Tensor decode_image(const std::filesystem::path& path) {
  const auto content = read_file(path, ExitCode::kData, kLargestFile);
  if (starts_with(content, "\xff\xd8\xff")) return decode_jpeg(path, content);
  if (starts_with(content, "\x89PNG\r\n\x1a\n")) return decode_png(path, content);
  fail(path,
       content.empty() ? "is empty, expected a JPEG or PNG image" : "is neither JPEG nor PNG");
}

}  // namespace edgecompress
