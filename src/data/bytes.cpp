#include "data/bytes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

class FileBytes : public Bytes {
 public:
  explicit FileBytes(const std::filesystem::path& path)
      : name_(path.string()), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status {};
    if (file_ < 0 || ::fstat(file_, &status) != 0) fail(std::strerror(errno));
    if (!S_ISREG(status.st_mode)) fail("is not a file");
    size_ = status.st_size;
  }
  ~FileBytes() override {
    if (file_ >= 0) ::close(file_);
  }
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  std::int64_t size() const override { return size_; }
  std::string name() const override { return name_; }

 protected:
  void read_within(std::int64_t offset, char* to, std::int64_t count) const override {
    while (count > 0) {
      const auto got = ::pread(file_, to, count, offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(std::strerror(errno));
      if (got == 0) fail("became shorter while it was read");
      offset += got;
      to += got;
      count -= got;
    }
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw Error(ExitCode::kData, fmt::format("{}: {}", name_, why));
  }

  std::string name_;
  int file_;
  std::int64_t size_ = 0;
};

class MemoryBytes : public Bytes {
 public:
  MemoryBytes(std::vector<char> bytes, std::string name)
      : bytes_(std::move(bytes)), name_(std::move(name)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(bytes_.size()); }
  std::string name() const override { return name_; }

 protected:
  void read_within(std::int64_t offset, char* to, std::int64_t count) const override {
    std::memcpy(to, bytes_.data() + offset, count);
  }

 private:
  std::vector<char> bytes_;
  std::string name_;
};

}  // namespace

void Bytes::read(std::int64_t offset, char* to, std::int64_t count) const {
  if (offset < 0 || count < 0 || offset > size() || count > size() - offset)
    throw Error(ExitCode::kData, fmt::format("{}: ends after {} bytes, expected {} more at {}",
                                             name(), size(), count, offset));
  if (count > 0) read_within(offset, to, count);
}

std::shared_ptr<const Bytes> open_file_bytes(const std::filesystem::path& path) {
  return std::make_shared<FileBytes>(path);
}

std::shared_ptr<const Bytes> memory_bytes(std::vector<char> bytes, std::string name) {
  return std::make_shared<MemoryBytes>(std::move(bytes), std::move(name));
}

void check_fits_memory(std::int64_t bytes, const std::string& name) {
  const auto memory =
      static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGE_SIZE);
  if (bytes > memory)
    throw Error(ExitCode::kData, fmt::format("{}: needs {} of memory, this machine has {}", name,
                                             human_bytes(bytes), human_bytes(memory)));
}

}  // namespace edgecompress
