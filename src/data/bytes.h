// Bytes by position, wherever they lie: a file, a member of an archive, memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace edgecompress {

/// Reading is const and may happen in several threads at once.
class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual std::int64_t size() const = 0;
  /// Copies `count` bytes from `offset` on. Throws Error(kData) naming the file, also for a range
  /// that is not within size().
  void read(std::int64_t offset, char* to, std::int64_t count) const;
  /// What messages call it: "train.npz: member 'images'".
  virtual std::string name() const = 0;

 protected:
  virtual void read_within(std::int64_t offset, char* to, std::int64_t count) const = 0;
};

/// A file, read where it is asked for; nothing is kept. Throws Error(kData) if it can't be opened.
std::shared_ptr<const Bytes> open_file_bytes(const std::filesystem::path& path);
std::shared_ptr<const Bytes> memory_bytes(std::vector<char> bytes, std::string name);

/// Throws Error(kData) if `bytes` is more than this machine's memory; called before anything is
/// allocated whose size a file tells. `name` begins the message.
void check_fits_memory(std::int64_t bytes, const std::string& name);

}  // namespace edgecompress
