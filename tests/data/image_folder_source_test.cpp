#include <spng.h>
#include <turbojpeg.h>

#include "data/image_file.h"
#include "data_files.h"

namespace edgecompress {
namespace {

using namespace testing;

/// A smooth image [height, width, 3], so that JPEG stays near it.
at::Tensor gradient(std::int64_t height, std::int64_t width) {
  const auto rows = at::linspace(20, 200, height).view({height, 1, 1});
  const auto columns = at::linspace(0, 50, width).view({1, width, 1});
  return (rows + columns + at::tensor({0.f, 2.f, 5.f})).to(at::kByte);
}

std::string encode_jpeg(const at::Tensor& image, int pixel_format = TJPF_RGB) {
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const auto encoder = tjInitCompress();
  tjCompress2(encoder, image.data_ptr<std::uint8_t>(), static_cast<int>(image.size(1)), 0,
              static_cast<int>(image.size(0)), pixel_format, &bytes, &size,
              pixel_format == TJPF_GRAY ? TJSAMP_GRAY : TJSAMP_444, 95, 0);
  const std::string result(reinterpret_cast<char*>(bytes), size);
  tjFree(bytes);
  tjDestroy(encoder);
  return result;
}

std::string encode_png(const at::Tensor& image, spng_color_type color, std::uint8_t depth = 8) {
  const auto encoder = spng_ctx_new(SPNG_CTX_ENCODER);
  spng_set_option(encoder, SPNG_ENCODE_TO_BUFFER, 1);
  spng_ihdr header{};
  header.width = static_cast<std::uint32_t>(image.size(1));
  header.height = static_cast<std::uint32_t>(image.size(0));
  header.color_type = static_cast<std::uint8_t>(color);
  header.bit_depth = depth;
  spng_set_ihdr(encoder, &header);
  spng_encode_image(encoder, image.data_ptr(), image.nbytes(), SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
  std::size_t size = 0;
  int error = 0;
  auto* bytes = spng_get_png_buffer(encoder, &size, &error);
  const std::string result(static_cast<char*>(bytes), size);
  std::free(bytes);
  spng_ctx_free(encoder);
  return result;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().max().item<double>();
}

TEST(ImageFile, PngIsExact) {
  Folder folder;
  const auto image = at::randint(0, 256, {5, 7, 3}, at::kByte);
  EXPECT_TRUE(at::equal(
      decode_image(folder.write("a.png", encode_png(image, SPNG_COLOR_TYPE_TRUECOLOR))), image));
}

TEST(ImageFile, GreyAndTransparentPngBecomeRgb) {
  Folder folder;
  const auto grey = at::randint(0, 256, {5, 7, 1}, at::kByte);
  EXPECT_TRUE(
      at::equal(decode_image(folder.write("a.png", encode_png(grey, SPNG_COLOR_TYPE_GRAYSCALE))),
                grey.expand({5, 7, 3})));
  const auto rgba = at::randint(0, 256, {5, 7, 4}, at::kByte);
  EXPECT_TRUE(at::equal(
      decode_image(folder.write("b.png", encode_png(rgba, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA))),
      rgba.narrow(2, 0, 3)));
}

TEST(ImageFile, JpegIsNear) {
  Folder folder;
  const auto image = gradient(24, 40);
  EXPECT_LE(largest_difference(decode_image(folder.write("a.jpg", encode_jpeg(image))), image), 6);
  const auto grey = image.select(2, 0).contiguous();
  const auto decoded = decode_image(folder.write("b.jpg", encode_jpeg(grey, TJPF_GRAY)));
  EXPECT_LE(largest_difference(decoded, grey.unsqueeze(2).expand({24, 40, 3})), 6);
}

TEST(ImageFile, DecodesAsTorchvisionDoes) {
  Folder folder;
  const auto image = at::randint(0, 256, {33, 47, 3}, at::kByte);
  folder.write("a.jpg", encode_jpeg(image));
  SKIP_WITHOUT_PYTHON(folder, R"(
from PIL import Image
torch.save({'a': torch.from_numpy(np.array(Image.open('a.jpg').convert('RGB'))), 'size': torch.zeros(1)}, 'expected.pt')
)");
  const auto expected = read_all(*open_source("torch", folder / "expected.pt", {"a"})).inputs[0];
  EXPECT_LE(largest_difference(decode_image(folder / "a.jpg"), expected), 1);
}

TEST(ImageFile, DamageIsAnErrorThatNamesTheFile) {
  Folder folder;
  const auto jpeg = encode_jpeg(at::randint(0, 256, {64, 64, 3}, at::kByte));
  const auto png =
      encode_png(at::randint(0, 256, {64, 64, 3}, at::kByte), SPNG_COLOR_TYPE_TRUECOLOR);
  const auto expect_damaged = [&](const std::string& name, const std::string& bytes,
                                  const std::string& text) {
    SCOPED_TRACE(name);
    expect_error([&] { decode_image(folder.write(name, bytes)); }, ExitCode::kData, {name, text});
  };
  expect_damaged("cut.jpg", jpeg.substr(0, jpeg.size() / 2), "damaged JPEG");
  expect_damaged("head.jpg", jpeg.substr(0, 20), "damaged");
  expect_damaged("cut.png", png.substr(0, png.size() / 2), "damaged PNG");
  expect_damaged("empty.png", "", "is empty");
  expect_damaged("text.jpg", "this is no image at all", "neither JPEG nor PNG");
  auto flipped = png;
  flipped[png.size() / 2] = static_cast<char>(flipped[png.size() / 2] ^ 1);
  expect_damaged("crc.png", flipped, "damaged PNG");
}

TEST(ImageFile, RefusesAHugeImageBeforeAllocatingIt) {
  Folder folder;
  auto png = encode_png(at::zeros({2, 2, 3}, at::kByte), SPNG_COLOR_TYPE_TRUECOLOR);
  auto jpeg = encode_jpeg(at::zeros({8, 8, 3}, at::kByte));
  const auto frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc");  // 65500 x 65500
  expect_error([&] { decode_image(folder.write("huge.jpg", jpeg)); }, ExitCode::kData,
               {"huge.jpg", "65500x65500", "64 megapixels"});
  png.replace(16, 8, std::string("\x7f\xff\xff\xff\x7f\xff\xff\xff", 8));
  EXPECT_THROW(decode_image(folder.write("huge.png", png)), Error);  // its checksum is wrong too
}

class ImageFolderSource : public ::testing::Test {
 protected:
  ImageFolderSource() {
    add("zebra/1.png", 10);
    add("ant/b.PNG", 20);
    add("ant/a.png", 30);
  }
  void add(const std::string& name, int value, std::int64_t height = 4, std::int64_t width = 6) {
    folder_.write(name, encode_png(at::full({height, width, 3}, value, at::kByte),
                                   SPNG_COLOR_TYPE_TRUECOLOR));
  }
  Folder folder_;
};

TEST_F(ImageFolderSource, ClassesAndImagesAreSortedByName) {
  const auto dataset = open_source("image_folder", folder_.path());
  EXPECT_THAT(dataset->class_names(), ::testing::ElementsAre("ant", "zebra"));
  const auto batch = read_all(*dataset);
  EXPECT_EQ(batch.inputs[0].sizes().vec(), (std::vector<std::int64_t>{3, 4, 6, 3}));
  EXPECT_TRUE(at::equal(batch.inputs[0].select(3, 0).select(2, 0).select(1, 0),
                        at::tensor({30, 20, 10}, at::kByte)));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({0, 0, 1}, at::kLong)));
  EXPECT_EQ(dataset->label_range()->high, 1);
  EXPECT_EQ(dataset->files().size(), 3u);
}

TEST_F(ImageFolderSource, OtherFilesAreLeftOut) {
  folder_.write("ant/notes.txt", "hello");
  folder_.write("ant/.DS_Store", "x");
  folder_.write("README", "hello");
  EXPECT_EQ(open_source("image_folder", folder_.path())->size(), 3);
}

TEST_F(ImageFolderSource, AnImageThatIsNoneIsNamedWhenItIsRead) {
  folder_.write("ant/c.jpg", "no image");
  const auto dataset = open_source("image_folder", folder_.path());
  ASSERT_EQ(dataset->size(), 4);
  EXPECT_NO_THROW(dataset->read({0, 1, 3}, 0));
  expect_error(
      [&] {
        dataset->read({0, 2}, 0);
      },
      ExitCode::kData, {"ant/c.jpg", "neither JPEG nor PNG"});
}

TEST_F(ImageFolderSource, LinksOutOfTheFolderAreNotFollowed) {
  Folder outside;
  outside.write("secret.png",
                encode_png(at::zeros({4, 6, 3}, at::kByte), SPNG_COLOR_TYPE_TRUECOLOR));
  std::filesystem::create_symlink(outside / "secret.png", folder_ / "ant/link.png");
  std::filesystem::create_directory_symlink(outside.path(), folder_ / "outside");
  std::filesystem::create_symlink(folder_ / "ant/a.png", folder_ / "ant/inside.png");
  const auto dataset = open_source("image_folder", folder_.path());
  EXPECT_EQ(dataset->size(), 4);
  EXPECT_THAT(dataset->class_names(), ::testing::ElementsAre("ant", "zebra"));
}

TEST_F(ImageFolderSource, DifferentSizesNeedAResize) {
  add("zebra/2.png", 40, 9, 5);
  const auto raw = open_source("image_folder", folder_.path());
  expect_error([&] { read_all(*raw); }, ExitCode::kData, {"zebra/2.png", "9x5", "4x6", "resize"});

  DatasetSpec spec;
  spec.source = "image_folder";
  spec.path = folder_.path().string();
  spec.transforms = Json::parse(R"([{"resize": {"size": [8, 8]}}, {"layout": {}}, {"scale": {}}])");
  const auto batch = read_all(*open_dataset(spec, "", 0, false));
  EXPECT_EQ(batch.inputs[0].sizes().vec(), (std::vector<std::int64_t>{4, 3, 8, 8}));
  EXPECT_TRUE(at::equal(batch.target, at::tensor({0, 0, 1, 1}, at::kLong)));

  spec.transforms = Json::parse(R"([{"layout": {}}, {"resize": {"size": 8}}])");
  expect_error([&] { read_all(*open_dataset(spec, "", 0, false)); }, ExitCode::kData,
               {"different shapes", "center_crop"});
}

TEST(ImageFolder, WithoutSubFoldersThereAreNoLabels) {
  Folder folder;
  folder.write("a.png", encode_png(at::zeros({2, 2, 3}, at::kByte), SPNG_COLOR_TYPE_TRUECOLOR));
  const auto dataset = open_source("image_folder", folder.path());
  EXPECT_EQ(dataset->size(), 1);
  EXPECT_FALSE(dataset->has_target());
}

TEST(ImageFolder, SaysWhatIsWrongWithAFolder) {
  Folder folder;
  expect_error([&] { open_source("image_folder", folder / "none"); }, ExitCode::kData,
               {"none", "not a folder"});
  expect_error([&] { open_source("image_folder", folder.path()); }, ExitCode::kData,
               {"neither class folders nor"});
  std::filesystem::create_directory(folder / "cat");
  expect_error([&] { open_source("image_folder", folder.path()); }, ExitCode::kData,
               {"cat", "without"});
}

TEST(ImageFolder, ReadsAThousandRealImages) {
  const char* shared = std::getenv("EDGECOMPRESS_SHARED");
  if (shared == nullptr) GTEST_SKIP() << "EDGECOMPRESS_SHARED is not set";
  const auto dataset =
      open_source("image_folder", std::filesystem::path(shared) / "data/cifar10_images");
  EXPECT_EQ(dataset->size(), 1000);
  EXPECT_EQ(dataset->class_names().size(), 10u);
  EXPECT_EQ(read_all(*dataset).inputs[0].sizes().vec(),
            (std::vector<std::int64_t>{1000, 32, 32, 3}));
}

}  // namespace
}  // namespace edgecompress
