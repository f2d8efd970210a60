// Archives that unpack to far more than they are, or nest by the ten thousand. They are made here:
// no corpus should hold one.
#include <gtest/gtest.h>

#include "fuzz/parts.h"
#include "fuzz/readers.h"
#include "support/expect_error.h"

namespace edgecompress::fuzz {
namespace {

using testing::expect_error;

/// The parts, and one of 257 MiB of zeros, which deflate packs 1000 to 1.
std::string bomb(std::vector<Part> parts, const std::string& name) {
  static const std::string zeros(std::size_t{257} << 20, '\0');
  parts.push_back({name, zeros, /*is_deflated=*/true});
  return pack(parts);
}

TEST(Bombs, AnArrayThatUnpacksToAThousandTimesItsSizeIsRefused) {
  const std::string archive = bomb({}, "images.npy");
  EXPECT_LT(archive.size(), std::size_t{2} << 20);
  expect_error(ExitCode::kData, "zip bomb", [&] { read_npz(archive); });
}

TEST(Bombs, AModelThatUnpacksToAThousandTimesItsSizeIsRefused) {
  const std::string archive =
      bomb({{"net/constants.pkl", "x"}, {"net/code/__torch__.py", "x"}}, "net/data/0");
  expect_error(ExitCode::kModel, "which no network does", [&] { read_torchscript(archive); });
}

TEST(Bombs, CodeThatWouldExhaustTheStackIsRefused) {
  const auto refused = [](const std::string& expression) {
    const std::string code =
        "class Net(Module):\n  def forward(self, x):\n    return " + expression;
    const std::string archive = pack({{"net/constants.pkl", ""}, {"net/code/__torch__.py", code}});
    expect_error(ExitCode::kModel, "nested deeper", [&] { read_torchscript(archive); });
  };
  const auto many = [](const std::string& text) {
    std::string all;
    for (int i = 0; i < 20000; ++i) all += text;
    return all;
  };
  refused(many("(") + "x" + many(")"));
  refused("x" + many("+x"));
  refused(many("-") + "x");
  refused("x" + many(" + torch.add(x, 1)"));
  refused("x\n" + many(" ") + "if x:");
}

TEST(Bombs, TuplesInTuplesAreRefusedBeforeTheyExhaustTheStack) {
  const std::string pickle = "\x80\x02)" + std::string(1'000'000, '\x85') + ".";
  const std::string archive = pack({{"archive/data.pkl", pickle}, {"archive/version", "3"}});
  expect_error(ExitCode::kData, "nested too deep", [&] { read_torch(archive); });
}

TEST(Bombs, TensorsThatUnpackAtAllAreRefused) {
  const std::string zeros(4096, '\0');
  const std::string archive =
      pack({{"archive/data.pkl", "x"}, {"archive/data/0", zeros, /*is_deflated=*/true}});
  expect_error(ExitCode::kData, "torch.save does not compress", [&] { read_torch(archive); });
}

}  // namespace
}  // namespace edgecompress::fuzz
