// Saving where it can't be done: LibTorch's writer ends the process when it hears of a failed
// write.
#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <string>

#include "model/model.h"
#include "support/expect_error.h"
#include "support/small_disk.h"
#include "support/temporary_folder.h"
#include "support/tiny_models.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;

class Save : public ::testing::Test {
 protected:
  std::ptrdiff_t entries() const {
    return std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator());
  }

  const testing::TinyModel tiny_ = testing::make_tiny_model("cnn");
  const Model model_ = Model::from_module(tiny_.module, tiny_.inputs);
  const testing::TemporaryFolder folder_;
};

TEST_F(Save, LeavesNothingOnAFullDisk) {
  const fs::path path = folder_.path() / "net.pt";
  testing::on_small_disk(folder_.path(), "size=4k", [&] {
    expect_error(
        ExitCode::kOutput, path.string() + ": can't be written: No space left",
        [&] { model_.save(path); }, "Free some space");
    EXPECT_EQ(entries(), 0);
  });
}

TEST_F(Save, KeepsTheOldFileOnAFullDisk) {
  const fs::path path = folder_.path() / "net.pt";
  model_.save(path);
  const auto size = fs::file_size(path);
  testing::on_small_disk(folder_.path(), "size=" + std::to_string(size + size / 2), [&] {
    model_.save(path);
    expect_error(ExitCode::kOutput, "No space left", [&] { model_.save(path); });
    EXPECT_EQ(fs::file_size(path), size);
    EXPECT_EQ(entries(), 1);
    EXPECT_NO_THROW(load_as_stored(path));
  });
}

TEST_F(Save, SaysThatTheFolderIsMissing) {
  expect_error(ExitCode::kOutput, "No such file",
               [&] { model_.save(folder_.path() / "absent" / "net.pt"); });
}

}  // namespace
}  // namespace edgecompress
