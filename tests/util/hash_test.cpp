#include "util/hash.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "util/file.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

// FIPS 180-4's examples.
constexpr char kOfAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kOfMillionA[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, GivesTheStandardsExamples) {
  EXPECT_EQ(sha256("abc"), kOfAbc);
  EXPECT_EQ(sha256(std::string(1000000, 'a')), kOfMillionA);
}

TEST(Sha256, ReadsFilesInPieces) {
  const TemporaryFolder folder;
  // Longer than one piece, and not a whole number of them.
  const std::string bytes(std::size_t{3} << 20 | 17, 'x');
  write_file_atomic(folder.path() / "long", bytes);
  EXPECT_EQ(sha256_of_file(folder.path() / "long"), sha256(bytes));
}

TEST(Sha256, NamesAFileThatCannotBeRead) {
  expect_error(ExitCode::kData, "/no/such/file", [] { sha256_of_file("/no/such/file"); });
}

}  // namespace
}  // namespace edgecompress
