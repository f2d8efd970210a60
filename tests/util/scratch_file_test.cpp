#include "util/scratch_file.h"

#include <gtest/gtest.h>

#include <string>

#include "support/expect_error.h"
#include "support/small_disk.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

TEST(ScratchFile, GivesBackWhatWasWrittenAndZerosElsewhere) {
  const TemporaryFolder folder;
  ScratchFile file(folder.path(), 100);
  file.write(40, "some", 4);
  file.write(42, "ft", 2);
  std::string read(8, '?');
  file.read(38, read.data(), 8);
  EXPECT_EQ(read, (std::string{0, 0, 's', 'o', 'f', 't', 0, 0}));
}

TEST(ScratchFile, HasNoName) {
  const TemporaryFolder folder;
  const ScratchFile file(folder.path(), 10);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ScratchFile, RefusesRangesBeyondItsEnd) {
  const TemporaryFolder folder;
  ScratchFile file(folder.path(), 10);
  char byte = 0;
  const auto read_at = [&](std::int64_t offset, std::int64_t count) {
    return [&file, &byte, offset, count] { file.read(offset, &byte, count); };
  };
  expect_error(ExitCode::kInternal, "beyond the end", read_at(10, 1));
  expect_error(ExitCode::kInternal, "beyond the end", read_at(-1, 1));
  expect_error(ExitCode::kInternal, "beyond the end", read_at(1, INT64_MAX));
  expect_error(ExitCode::kInternal, "beyond the end", [&] { file.write(8, "abc", 3); });
}

TEST(ScratchFile, NamesAFolderThatIsNotThere) {
  expect_error(ExitCode::kOutput, "/absent", [] { ScratchFile("/absent", 10); });
}

TEST(ScratchFile, FullDiskIsNoticedBeforeAnythingIsWritten) {
  const TemporaryFolder folder;
  testing::on_small_disk(folder.path(), "size=64k", [&] {
    EXPECT_NO_THROW(ScratchFile(folder.path(), 16 << 10));
    expect_error(ExitCode::kOutput, "No space left", [&] { ScratchFile(folder.path(), 1 << 20); });
  });
}

}  // namespace
}  // namespace edgecompress
