// Every input that ever broke a reader, read again: it is taken, or refused by the error that a
// user can act on.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "edgecompress/error.h"
#include "fuzz/readers.h"

namespace edgecompress::fuzz {
namespace {

namespace fs = std::filesystem;

struct Reader {
  const char* name;
  void (*read)(std::string_view input);
  ExitCode code;  ///< of what it refuses
};

const Reader kReaders[] = {
    {"recipe", read_recipe, ExitCode::kRecipe},
    {"csv", read_csv, ExitCode::kData},
    {"npy", read_npy, ExitCode::kData},
    {"npz", read_npz, ExitCode::kData},
    {"image", read_image, ExitCode::kData},
    {"torch", read_torch, ExitCode::kData},
    {"safetensors", read_safetensors, ExitCode::kData},
    {"torchscript", read_torchscript, ExitCode::kModel},
};

class Replay : public ::testing::TestWithParam<Reader> {};

TEST_P(Replay, EveryKeptInputIsTakenOrRefused) {
  const fs::path folder = fs::path(EDGECOMPRESS_SOURCE_DIR) / "tests/fuzz/corpus" / GetParam().name;
  for (const fs::path& file : fs::directory_iterator(folder)) {
    const bool is_good = file.filename().string().rfind("good", 0) == 0;
    SCOPED_TRACE(file.filename().string());
    std::ifstream stream(file, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(stream), {}};
    const auto start = std::chrono::steady_clock::now();
    try {
      GetParam().read(input);
    } catch (const Error& error) {
      EXPECT_FALSE(is_good) << error.what();
      EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(GetParam().code)) << error.what();
      EXPECT_EQ(std::string(error.what()).find("Exception raised from"), std::string::npos);
    } catch (const std::exception& error) {
      ADD_FAILURE() << "not an Error: " << error.what();
    }
    // Far above what any of them needs, far below what one that never ends would take.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(1));
  }
}

INSTANTIATE_TEST_SUITE_P(Readers, Replay, ::testing::ValuesIn(kReaders),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace edgecompress::fuzz
