#include "data/transforms.h"

#include <cmath>

#include "data_files.h"
#include "util/random.h"

namespace edgecompress {
namespace {

using namespace testing;

at::Tensor transformed(const Json& list, at::Tensor batch,
                       const std::vector<std::uint64_t>& seeds = {}) {
  for (const auto& transform : parse_transforms(list, "/transforms"))
    batch =
        transform.apply(batch, transform.is_training_only ? seeds : std::vector<std::uint64_t>{});
  return batch;
}

const Json kFromNhwc = {{"layout", {{"from", "NHWC"}, {"to", "NCHW"}}}};

TEST(Transforms, ScaleAndNormalizeByHand) {
  const auto batch = at::tensor({0, 51, 255}, at::kByte).view({1, 3, 1, 1});
  const auto result = transformed(
      Json::parse(
          R"([{"scale": {"divisor": 255}}, {"normalize": {"mean": [0.5, 0.2, 0], "std": [0.5, 1, 0.25]}}])"),
      batch);
  EXPECT_TRUE(at::allclose(result.flatten(), at::tensor({-1.f, 0.f, 4.f}), 0, 1e-6));
}

TEST(Transforms, ToFloatKeepsValues) {
  EXPECT_TRUE(
      at::equal(transformed(Json::parse(R"([{"to_float": {}}])"), at::tensor({3, 250}, at::kByte)),
                at::tensor({3.f, 250.f})));
}

TEST(Transforms, NormalizeTakesTheChannelsWhereTheLayoutSaysTheyAre) {
  const auto values = at::zeros({1, 2, 2, 3});
  const auto list = Json::parse(
      R"([{"normalize": {"mean": [1, 2, 3], "std": [1]}}, {"layout": {"from": "NHWC", "to": "NCHW"}}])");
  const auto result = transformed(list, values);
  EXPECT_TRUE(
      at::equal(result, at::tensor({-1.f, -2.f, -3.f}).view({1, 3, 1, 1}).expand({1, 3, 2, 2})));
}

TEST(Transforms, NormalizeNamesAMissingLayout) {
  const auto list = Json::parse(R"([{"normalize": {"mean": [1, 2, 3], "std": [1, 1, 1]}}])");
  expect_error(
      [&] {
        transformed(list, at::zeros({1, 8, 8, 3}));
      },
      ExitCode::kData, {"3 values", "8x8x3", "layout"});
}

TEST(Transforms, LayoutMovesChannels) {
  const auto nhwc = at::arange(24).view({1, 2, 3, 4});
  const auto nchw = transformed(Json::array({kFromNhwc}), nhwc);
  EXPECT_TRUE(at::equal(nchw, nhwc.permute({0, 3, 1, 2})));
  EXPECT_TRUE(nchw.is_contiguous());
  EXPECT_TRUE(at::equal(
      transformed(Json::parse(R"([{"layout": {"from": "NCHW", "to": "NHWC"}}])"), nchw), nhwc));
  EXPECT_EQ(transformed(Json::parse(R"([{"layout": {"from": "NHW", "to": "NCHW"}}])"),
                        at::zeros({2, 5, 6}))
                .sizes(),
            (std::vector<std::int64_t>{2, 1, 5, 6}));
  EXPECT_EQ(transformed(Json::parse(R"([{"layout": {"from": "NLC", "to": "NCL"}}])"),
                        at::zeros({2, 5, 6}))
                .sizes(),
            (std::vector<std::int64_t>{2, 6, 5}));
}

TEST(Transforms, CenterCropTakesTheMiddle) {
  const auto images = at::arange(16).view({1, 1, 4, 4});
  EXPECT_TRUE(at::equal(transformed(Json::parse(R"([{"center_crop": {"size": 2}}])"), images),
                        at::tensor({5, 6, 9, 10}, at::kLong).view({1, 1, 2, 2})));
  expect_error([&] { transformed(Json::parse(R"([{"center_crop": {"size": 5}}])"), images); },
               ExitCode::kData, {"4x4", "5x5", "resize"});
}

TEST(Transforms, ResizeHalvesByAveraging) {
  // With antialiasing the tent of width 4 weighs 1, 3, 3, 1 (of 8) inside and 3, 3, 1 (of 7) at the
  // border.
  const auto images =
      at::tensor({0.f, 7.f, 14.f, 21.f}).view({1, 1, 1, 4}).expand({1, 1, 2, 4}).contiguous();
  const auto result = transformed(Json::parse(R"([{"resize": {"size": [1, 2]}}])"), images);
  EXPECT_TRUE(at::allclose(result.flatten(),
                           at::tensor({(3 * 0 + 3 * 7 + 14) / 7.f, (7 + 3 * 14 + 3 * 21) / 7.f}),
                           1e-5, 1e-5))
      << result;
}

TEST(Transforms, ResizeOfOneNumberSetsTheShorterSide) {
  const auto list = Json::parse(R"([{"resize": {"size": 8}}])");
  EXPECT_EQ(transformed(list, at::zeros({1, 3, 16, 24})).sizes().slice(2).vec(),
            (std::vector<std::int64_t>{8, 12}));
  EXPECT_EQ(transformed(list, at::zeros({1, 3, 24, 16})).sizes().slice(2).vec(),
            (std::vector<std::int64_t>{12, 8}));
}

TEST(Transforms, ImagesAreTreatedAlikeInEitherLayout) {
  const auto nchw = at::randint(0, 256, {4, 3, 20, 24}, at::kByte);
  const auto nhwc = nchw.permute({0, 2, 3, 1}).contiguous();
  const std::vector<std::uint64_t> seeds = {1, 2, 3, 4};
  for (const auto* item : {R"({"resize": {"size": [9, 7]}})", R"({"center_crop": {"size": 9}})",
                           R"({"random_flip": {}})", R"({"pad_crop": {"padding": 3}})"}) {
    SCOPED_TRACE(item);
    const auto first = transformed(Json::array({Json::parse(item)}), nchw, seeds);
    const auto second = transformed(Json::array({Json::parse(item), kFromNhwc}), nhwc, seeds);
    EXPECT_EQ(first.scalar_type(), at::kByte);
    EXPECT_TRUE(at::equal(first, second));
  }
}

TEST(Transforms, FlipMirrorsWholeSamples) {
  const auto images = at::arange(2 * 1 * 2 * 3).view({2, 1, 2, 3});
  const std::vector<std::uint64_t> seeds = {5, 6};
  EXPECT_TRUE(
      at::equal(transformed(Json::parse(R"([{"random_flip": {"probability": 1}}])"), images, seeds),
                images.flip({3})));
  EXPECT_TRUE(at::equal(
      transformed(Json::parse(R"([{"random_flip": {"probability": 0}}])"), images, seeds), images));
}

TEST(Transforms, FlipMirrorsAboutTheShareAskedFor) {
  const auto images = at::arange(2).view({1, 1, 1, 2}).expand({2000, 1, 1, 2}).contiguous();
  std::vector<std::uint64_t> seeds;
  for (std::uint64_t i = 0; i < 2000; ++i) seeds.push_back(derive_seed(1, "flip", i));
  const auto flipped =
      transformed(Json::parse(R"([{"random_flip": {"probability": 0.25}}])"), images, seeds);
  EXPECT_NEAR(flipped.select(3, 0).sum().item<double>() / 2000, 0.25, 0.04);
}

TEST(Transforms, PadCropIsAWindowOfThePaddedImage) {
  const auto images = at::arange(1, 1 + 3 * 25).view({3, 1, 5, 5});
  const auto cropped =
      transformed(Json::parse(R"([{"pad_crop": {"padding": 2}}])"), images, {11, 12, 13});
  const auto padded = at::constant_pad_nd(images, {2, 2, 2, 2}, 0);
  for (int i = 0; i < 3; ++i) {
    int windows = 0;
    for (int top = 0; top <= 4; ++top)
      for (int left = 0; left <= 4; ++left)
        windows += at::equal(cropped[i], padded[i].narrow(1, top, 5).narrow(2, left, 5));
    EXPECT_EQ(windows, 1) << i;
  }
}

TEST(Transforms, ASampleIsAugmentedBySeedNotByItsNeighbours) {
  const auto images = at::randint(0, 256, {3, 3, 8, 8}, at::kByte);
  const auto list = Json::parse(R"([{"pad_crop": {"padding": 4}}])");
  const auto together = transformed(list, images, {1, 2, 3});
  EXPECT_TRUE(at::equal(together[2], transformed(list, images.narrow(0, 2, 1), {3})[0]));
}

TEST(Transforms, ResizeAndCropEqualTorchvision) {
  Folder folder;
  SKIP_WITHOUT_PYTHON(folder, R"(
import torchvision.transforms.functional as F
torch.manual_seed(0)
x = torch.randint(0, 256, (2, 3, 37, 53), dtype=torch.uint8)
out = {'x': x}
for name, size in (('down', [16, 20]), ('up', [61, 70]), ('short', 24)):
    out[name] = F.resize(x, size, antialias=True)
    out[name + '_float'] = F.resize(x.float() / 255, size, antialias=True)
out['crop'] = F.center_crop(x, [10, 14])
torch.save(out, 'expected.pt')
)");
  const auto expected = [&](const std::string& key) {
    return read_all(*open_source("torch", folder / "expected.pt", {key})).inputs[0];
  };
  const auto images = expected("x");
  const std::vector<std::pair<std::string, Json>> sizes = {
      {"down", {16, 20}}, {"up", {61, 70}}, {"short", 24}};
  for (const auto& [name, size] : sizes) {
    SCOPED_TRACE(name);
    const Json list = Json::array({{{"resize", {{"size", size}}}}});
    EXPECT_TRUE(at::equal(transformed(list, images), expected(name)));
    EXPECT_TRUE(at::allclose(transformed(list, images.to(at::kFloat) / 255),
                             expected(name + "_float"), 1e-5, 1e-6));
  }
  EXPECT_TRUE(
      at::equal(transformed(Json::parse(R"([{"center_crop": {"size": [10, 14]}}])"), images),
                expected("crop")));
}

TEST(Transforms, NamesTheNearestTransform) {
  expect_error(
      [] {
        parse_transforms(Json::parse(R"([{"normalise": {"mean": [0], "std": [1]}}])"),
                         "/data/train/transforms");
      },
      ExitCode::kRecipe, {"/data/train/transforms/0", "'normalise'", "did you mean 'normalize'?"});
}

TEST(Transforms, RefusesWhatIsNoTransform) {
  const auto expect_refused = [](const char* list, const std::vector<std::string>& texts) {
    SCOPED_TRACE(list);
    expect_error([&] { parse_transforms(Json::parse(list), "/t"); }, ExitCode::kRecipe, texts);
  };
  expect_refused(R"({"scale": {}})", {"/t", "list"});
  expect_refused(R"(["scale"])", {"/t/0", "one key"});
  expect_refused(R"([{"scale": {}, "to_float": {}}])", {"/t/0", "one key"});
  expect_refused(R"([{"scale": {"divisor": 0}}])", {"/t/0/scale/divisor"});
  expect_refused(R"([{"scale": {"by": 2}}])", {"/t/0/scale", "by"});
  expect_refused(R"([{"resize": {}}])", {"/t/0/resize", "size"});
  expect_refused(R"([{"resize": {"size": [1, 2, 3]}}])", {"/t/0/resize/size"});
  expect_refused(R"([{"resize": {"size": 100000}}])", {"/t/0/resize/size", "8192"});
  expect_refused(R"([{"normalize": {"mean": [0], "std": [1, 0]}}])", {"/t/0/normalize/std"});
  expect_refused(R"([{"random_flip": {"probability": 1.5}}])", {"/t/0/random_flip/probability"});
  expect_refused(R"([{"layout": {}}, {"layout": {}}])", {"/t/1/layout/from", "NCHW"});
}

TEST(Transforms, ImageTransformsRefuseWhatIsNoImage) {
  expect_error(
      [] {
        transformed(Json::parse(R"([{"random_flip": {}}])"), at::zeros({4, 10}), {1, 2, 3, 4});
      },
      ExitCode::kData, {"random_flip", "4x10"});
  expect_error(
      [] {
        transformed(Json::parse(R"([{"resize": {"size": 8}}])"), at::zeros({4, 32, 32, 3}));
      },
      ExitCode::kData, {"32x32x3", "layout"});
}

TEST(Transforms, OddValuesPassThrough) {
  const auto odd =
      at::tensor({float(NAN), float(INFINITY), -float(INFINITY), 1e38f}).view({1, 1, 2, 2});
  const auto result = transformed(
      Json::parse(R"([{"scale": {}}, {"resize": {"size": [3, 3]}}, {"center_crop": {"size": 2}}])"),
      odd);
  EXPECT_TRUE(result.isnan().any().item<bool>());
}

}  // namespace
}  // namespace edgecompress
