// Room on disk for what would be too much for memory.
#pragma once

#include <cstdint>
#include <filesystem>

namespace edgecompress {

/// A file without a name: nobody else sees it, and it is gone when this is, however the process
/// ends. What is read again soon comes from the system's cache.
class ScratchFile {
 public:
  /// `size` bytes of zeros, reserved at once, in the file system of `folder`. Throws Error(kOutput)
  /// where it has no room for them or can't be written.
  ScratchFile(const std::filesystem::path& folder, std::int64_t size);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  std::int64_t size() const { return size_; }
  /// The range must lie within the size. Throw Error(kOutput).
  void write(std::int64_t offset, const void* from, std::int64_t count);
  void read(std::int64_t offset, void* to, std::int64_t count) const;

 private:
  void check_within(std::int64_t offset, std::int64_t count) const;

  std::filesystem::path folder_;
  std::int64_t size_;
  int file_;
};

}  // namespace edgecompress
