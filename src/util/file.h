// Reading and writing files without ever leaving half of one under its final name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "edgecompress/error.h"

namespace edgecompress {

/// The whole file; at most `limit` bytes. Throws Error(`code`) naming the path and the reason.
std::string read_file(const std::filesystem::path& path, ExitCode code, std::int64_t limit);

/// Error(kOutput) for a file or folder that can't be written; `reason` is an errno.
Error write_error(const std::filesystem::path& path, int reason);

/// Takes the next bytes of a file. It never tells of a failed write: there are writers (LibTorch's)
/// that end the process when they hear of one.
using ByteSink = std::function<void(std::string_view bytes)>;

/// Writes what `fill` gives to the sink through a temporary name in the same folder, fsyncs, then
/// renames over `path`. Throws what `fill` throws, or Error(kOutput) once it is done; the temporary
/// file is removed on failure.
void write_file_atomic(const std::filesystem::path& path,
                       const std::function<void(const ByteSink& write)>& fill);
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes);

/// The same with the bytes of another file. Throws Error(`code`) if that can't be read.
void copy_file_atomic(const std::filesystem::path& from, const std::filesystem::path& to,
                      ExitCode code);

/// A folder that appears whole or not at all: files are written into a hidden folder
/// (".NAME.partial-PID", beside the final one, or inside it where it exists already, so that it is
/// on the same file system) and moved into place by commit(). Without commit() the destructor
/// removes it, and the parent folders that it had to make. One that a killed process left is
/// removed by the next that writes to the same folder. The final folder may be a symbolic link to
/// one; links inside it are replaced, never followed.
class StagedDirectory {
 public:
  /// Checks at once that `final_path` can be made and written, and that it holds no file of an
  /// earlier run unless `overwrite`. Throws Error(kOutput).
  StagedDirectory(std::filesystem::path final_path, bool overwrite);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  const std::filesystem::path& path() const { return staging_; }
  const std::filesystem::path& final_path() const { return final_; }
  /// fsyncs and moves every staged entry to the final folder (made if absent). Throws
  /// Error(kOutput); the final folder is then as it was.
  void commit();

 private:
  void move_into_final_folder();

  std::filesystem::path final_;
  std::filesystem::path staging_;
  std::filesystem::path made_;  // the topmost folder that had to be made; empty: none
  int lock_ = -1;  // on the staging folder: tells other processes that this one is at work
  bool is_committed_ = false;
};

/// Length of the file after deflate (zlib level 6), streamed; nothing is written.
std::int64_t deflated_size(const std::filesystem::path& path);

}  // namespace edgecompress
