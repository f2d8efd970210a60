#include "util/file.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <zlib.h>

#include <csignal>
#include <fstream>
#include <stdexcept>

#include "support/expect_error.h"
#include "support/small_disk.h"
#include "support/temporary_folder.h"
#include "util/random.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using ::testing::IsEmpty;
using testing::mount_tmpfs;
using testing::on_small_disk;
using testing::TemporaryFolder;
using ::testing::UnorderedElementsAre;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

std::string read(const fs::path& path) { return read_file(path, ExitCode::kData, 1 << 20); }

/// Where no file system can be mounted: no file takes more than so many bytes.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(ReadFile, GivesTheBytesOrSaysWhyNot) {
  const TemporaryFolder folder;
  write(folder.path() / "a", std::string("\0binary", 7));
  EXPECT_EQ(read(folder.path() / "a"), std::string("\0binary", 7));
  expect_error(ExitCode::kModel, "No such file",
               [&] { read_file(folder.path() / "b", ExitCode::kModel, 10); });
  expect_error(ExitCode::kRecipe, "directory",
               [&] { read_file(folder.path(), ExitCode::kRecipe, 10); });
}

TEST(ReadFile, StopsAtTheLimit) {
  const TemporaryFolder folder;
  write(folder.path() / "a", "12345");
  EXPECT_EQ(read_file(folder.path() / "a", ExitCode::kData, 5), "12345");
  expect_error(ExitCode::kData, "larger than the 4 bytes",
               [&] { read_file(folder.path() / "a", ExitCode::kData, 4); });
  // A device without an end.
  expect_error(ExitCode::kData, "larger", [] { read_file("/dev/zero", ExitCode::kData, 100000); });
}

TEST(WriteFileAtomic, ReplacesTheFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  write_file_atomic(folder.path() / "a", "old");
  write_file_atomic(folder.path() / "a", "new");
  EXPECT_EQ(read(folder.path() / "a"), "new");
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("a"));
}

TEST(WriteFileAtomic, KeepsTheOldFileWhenAWriteFails) {
  const TemporaryFolder folder;
  write_file_atomic(folder.path() / "a", "old");
  {
    const FileSizeLimit limit(1000);
    expect_error(ExitCode::kOutput, (folder.path() / "a").string(),
                 [&] { write_file_atomic(folder.path() / "a", std::string(5000, 'x')); });
  }
  EXPECT_EQ(read(folder.path() / "a"), "old");
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("a"));
}

TEST(WriteFileAtomic, KeepsTheOldFileWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  on_small_disk(folder.path(), "size=64k", [&] {
    const fs::path path = folder.path() / "a";
    write_file_atomic(path, "old");
    expect_error(
        ExitCode::kOutput, path.string() + ": can't be written: No space left",
        [&] { write_file_atomic(path, std::string(100000, 'x')); }, "Free some space");
    EXPECT_EQ(read(path), "old");
    EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("a"));
    // The place of what failed is free again.
    write_file_atomic(path, std::string(50000, 'x'));
    EXPECT_EQ(read(path).size(), 50000U);
  });
}

TEST(WriteFileAtomic, NeverTellsTheWriterOfAFailure) {
  const TemporaryFolder folder;
  on_small_disk(folder.path(), "size=8k", [&] {
    int pieces = 0;
    expect_error(ExitCode::kOutput, "No space left", [&] {
      write_file_atomic(folder.path() / "a", [&](const ByteSink& write) {
        for (; pieces < 10; ++pieces) EXPECT_NO_THROW(write(std::string(4096, 'x')));
      });
    });
    EXPECT_EQ(pieces, 10);
    EXPECT_THAT(names_in(folder.path()), IsEmpty());
  });
}

TEST(WriteFileAtomic, LeavesNothingWhenTheWriterThrows) {
  const TemporaryFolder folder;
  const auto half = [](const ByteSink& write) {
    write("half");
    throw std::runtime_error("the writer failed");
  };
  EXPECT_THROW(write_file_atomic(folder.path() / "a", half), std::runtime_error);
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(WriteFileAtomic, DoesNotWriteThroughALinkInItsWay) {
  const TemporaryFolder folder;
  write(folder.path() / "precious", "mine");
  fs::create_symlink("precious", folder.path() / (".a.partial-" + std::to_string(::getpid())));
  write_file_atomic(folder.path() / "a", "new");
  EXPECT_EQ(read(folder.path() / "precious"), "mine");
  EXPECT_EQ(read(folder.path() / "a"), "new");
}

TEST(CopyFileAtomic, CopiesTheBytesOrSaysWhyNot) {
  const TemporaryFolder folder;
  const std::string bytes(200000, 'x');  // more than one piece
  write(folder.path() / "a", bytes);
  copy_file_atomic(folder.path() / "a", folder.path() / "b", ExitCode::kModel);
  EXPECT_EQ(read(folder.path() / "b"), bytes);
  expect_error(ExitCode::kModel, "absent", [&] {
    copy_file_atomic(folder.path() / "absent", folder.path() / "c", ExitCode::kModel);
  });
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("a", "b"));
}

TEST(StagedDirectory, AppearsWholeOnCommit) {
  const TemporaryFolder folder;
  const fs::path out = folder.path() / "deep" / "out";
  {
    StagedDirectory staged(out, false);
    write(staged.path() / "model.pt", "model");
    fs::create_directory(staged.path() / "adapter");
    write(staged.path() / "adapter" / "a", "weights");
    EXPECT_FALSE(fs::exists(out));
    staged.commit();
  }
  EXPECT_THAT(names_in(out), UnorderedElementsAre("model.pt", "adapter"));
  EXPECT_EQ(read(out / "adapter" / "a"), "weights");
  EXPECT_THAT(names_in(folder.path() / "deep"), UnorderedElementsAre("out"));
}

TEST(StagedDirectory, LeavesNothingAfterAnException) {
  const TemporaryFolder folder;
  try {
    StagedDirectory staged(folder.path() / "made" / "for" / "out", false);
    write(staged.path() / "model.pt", "half");
    throw std::runtime_error("the work failed");
  } catch (const std::runtime_error&) {
  }
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(StagedDirectory, LeavesAnExistingFolderAsItWasAfterAnException) {
  const TemporaryFolder folder;
  write(folder.path() / "model.pt", "old");
  {
    StagedDirectory staged(folder.path(), true);
    write(staged.path() / "model.pt", "half");
  }
  EXPECT_EQ(read(folder.path() / "model.pt"), "old");
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("model.pt"));
}

TEST(StagedDirectory, RefusesAUsedFolderUnlessItMayOverwrite) {
  const TemporaryFolder folder;
  write(folder.path() / "report.json", "old");
  write(folder.path() / "mine.txt", "mine");
  fs::create_directory(folder.path() / "adapter");
  write(folder.path() / "adapter" / "stale", "old");
  expect_error(
      ExitCode::kOutput, "not empty", [&] { StagedDirectory(folder.path(), false); },
      "--overwrite");

  StagedDirectory staged(folder.path(), true);
  write(staged.path() / "report.json", "new");
  fs::create_directory(staged.path() / "adapter");
  write(staged.path() / "adapter" / "fresh", "new");
  staged.commit();
  EXPECT_EQ(read(folder.path() / "report.json"), "new");
  EXPECT_EQ(read(folder.path() / "mine.txt"), "mine");
  EXPECT_THAT(names_in(folder.path() / "adapter"), UnorderedElementsAre("fresh"));
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("report.json", "mine.txt", "adapter"));
}

TEST(StagedDirectory, TakesAnEmptyFolderThatIsThere) {
  const TemporaryFolder folder;
  StagedDirectory staged(folder.path(), false);
  write(staged.path() / "a", "a");
  staged.commit();
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("a"));
}

TEST(StagedDirectory, IgnoresWhatAKilledRunLeft) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / ".out.partial-1");
  EXPECT_NO_THROW(StagedDirectory(folder.path(), false));
}

/// The number of a process that has ended.
pid_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST(StagedDirectory, RemovesWhatAKilledRunIntoTheSameFolderLeft) {
  const TemporaryFolder folder;
  const std::string ended = ".out.partial-" + std::to_string(ended_process());
  fs::create_directories(folder.path() / "out" / ended);
  fs::create_directories(folder.path() / ended / "steps");
  write(folder.path() / ended / "run.log", "half");
  StagedDirectory(folder.path() / "out", false);
  EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("out"));
  EXPECT_THAT(names_in(folder.path() / "out"), IsEmpty());
}

TEST(StagedDirectory, KeepsWhatMayNotBeItsOwnToRemove) {
  const TemporaryFolder folder;
  const std::string ended = std::to_string(ended_process());
  const std::vector<std::string> kept = {
      ".other.partial-" + ended,         // of a run into another folder
      ".out.partial-" + ended + "-kept"  // not a name that we give
  };
  for (const std::string& name : kept) fs::create_directory(folder.path() / name);
  fs::create_directory(folder.path() / "precious");
  write(folder.path() / "precious" / "file", "mine");
  fs::create_directory_symlink("precious", folder.path() / (".out.partial-" + ended));
  StagedDirectory(folder.path() / "out", false);
  EXPECT_EQ(read(folder.path() / "precious" / "file"), "mine");
  EXPECT_THAT(names_in(folder.path()),
              UnorderedElementsAre(kept[0], kept[1], "precious", ".out.partial-" + ended));
}

TEST(StagedDirectory, KeepsWhatAnotherMachineIsAtWorkIn) {
  const TemporaryFolder folder;
  const StagedDirectory staged(folder.path() / "out", false);
  // As seen from a machine that shares the disk: locked, by a process that this one doesn't have.
  const fs::path elsewhere = folder.path() / (".out.partial-" + std::to_string(ended_process()));
  fs::rename(staged.path(), elsewhere);
  StagedDirectory(folder.path() / "out", false);
  EXPECT_TRUE(fs::exists(elsewhere));
}

TEST(StagedDirectory, ReplacesLinksInsideAndDoesNotFollowThem) {
  const TemporaryFolder folder;
  const fs::path out = folder.path() / "out";
  fs::create_directory(out);
  write(folder.path() / "precious", "mine");
  fs::create_symlink("../precious", out / "report.json");
  {
    StagedDirectory staged(out, true);
    write(staged.path() / "report.json", "new");
    staged.commit();
  }
  EXPECT_EQ(read(folder.path() / "precious"), "mine");
  EXPECT_FALSE(fs::is_symlink(out / "report.json"));
  EXPECT_EQ(read(out / "report.json"), "new");
}

TEST(StagedDirectory, WritesToTheFolderThatALinkLeadsTo) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / "large_disk");
  fs::create_directory_symlink("large_disk", folder.path() / "out");
  {
    StagedDirectory staged(folder.path() / "out", false);
    write(staged.path() / "a", "a");
    staged.commit();
  }
  EXPECT_TRUE(fs::is_symlink(folder.path() / "out"));
  EXPECT_THAT(names_in(folder.path() / "large_disk"), UnorderedElementsAre("a"));

  fs::create_symlink("nowhere", folder.path() / "dangling");
  expect_error(ExitCode::kOutput, "link to nothing",
               [&] { StagedDirectory(folder.path() / "dangling", true); });
}

TEST(StagedDirectory, RefusesPlacesThatCannotBeWritten) {
  const TemporaryFolder folder;
  write(folder.path() / "file", "");
  expect_error(ExitCode::kOutput, "it is a file",
               [&] { StagedDirectory(folder.path() / "file", true); });
  expect_error(ExitCode::kOutput, "Not a directory",
               [&] { StagedDirectory(folder.path() / "file" / "out", true); });
  expect_error(ExitCode::kOutput, "/proc/out", [] { StagedDirectory("/proc/out", true); });
}

TEST(StagedDirectory, LeavesNothingOnAFullDisk) {
  const TemporaryFolder folder;
  on_small_disk(folder.path(), "size=64k,nr_inodes=4", [&] {
    // The disk itself and three folders: none is left for the fourth.
    expect_error(ExitCode::kOutput, "No space left",
                 [&] { StagedDirectory(folder.path() / "made" / "for" / "all" / "out", false); });
    EXPECT_THAT(names_in(folder.path()), IsEmpty());

    expect_error(ExitCode::kOutput, "No space left", [&] {
      StagedDirectory staged(folder.path() / "out", false);
      write_file_atomic(staged.path() / "small", "fits");
      write_file_atomic(staged.path() / "large", std::string(100000, 'x'));
      staged.commit();
    });
    EXPECT_THAT(names_in(folder.path()), IsEmpty());
  });
}

TEST(StagedDirectory, PutsBackWhatItReplacedWhenItsDiskIsFull) {
  const TemporaryFolder folder;
  // The disk itself, two files, the staging folder and a file in it: no room to keep the old one.
  on_small_disk(folder.path(), "size=64k,nr_inodes=5", [&] {
    write(folder.path() / "a", "old");
    write(folder.path() / "mine", "mine");
    {
      StagedDirectory staged(folder.path(), true);
      write(staged.path() / "a", "new");
      expect_error(ExitCode::kOutput, "No space left", [&] { staged.commit(); });
    }
    EXPECT_EQ(read(folder.path() / "a"), "old");
    EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("a", "mine"));
  });
}

TEST(StagedDirectory, PutsBackWhatItReplacedWhenOneEntryCannotBeMoved) {
  const TemporaryFolder folder;
  on_small_disk(folder.path(), "size=64k", [&] {
    for (const char* name : {"a", "z"}) write(folder.path() / name, "old");
    fs::create_directory(folder.path() / "busy");
    ASSERT_TRUE(mount_tmpfs(folder.path() / "busy", "size=4k"));  // can't be renamed away
    {
      StagedDirectory staged(folder.path(), true);
      for (const char* name : {"a", "busy", "z"}) write(staged.path() / name, "new");
      expect_error(ExitCode::kOutput, folder.path().string(), [&] { staged.commit(); });
    }
    EXPECT_EQ(read(folder.path() / "a"), "old");
    EXPECT_EQ(read(folder.path() / "z"), "old");
    EXPECT_THAT(names_in(folder.path()), UnorderedElementsAre("a", "busy", "z"));
  });
}

TEST(StagedDirectory, RefusesAFolderWithoutPermission) {
  if (::geteuid() == 0) GTEST_SKIP() << "permissions don't bind root";
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
  expect_error(ExitCode::kOutput, "Permission denied",
               [&] { StagedDirectory(folder.path() / "out", false); });
  fs::permissions(folder.path(), fs::perms::owner_all);
}

TEST(DeflatedSize, IsThatOfZlibOnTheWholeFile) {
  const TemporaryFolder folder;
  Random random(1);
  // More than one piece, half of it noise so that it doesn't shrink to nothing.
  std::string bytes(300000, 'z');
  for (std::size_t i = 0; i < bytes.size(); i += 2) bytes[i] = static_cast<char>(random.bits());
  write_file_atomic(folder.path() / "a", bytes);
  uLongf size = ::compressBound(bytes.size());
  std::vector<Bytef> out(size);
  ASSERT_EQ(
      ::compress2(out.data(), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), 6),
      Z_OK);
  EXPECT_EQ(deflated_size(folder.path() / "a"), static_cast<std::int64_t>(size));

  write_file_atomic(folder.path() / "empty", "");
  EXPECT_EQ(deflated_size(folder.path() / "empty"), 8);  // header, one empty block, checksum
  expect_error(ExitCode::kData, "nothing", [&] { deflated_size(folder.path() / "nothing"); });
}

}  // namespace
}  // namespace edgecompress
