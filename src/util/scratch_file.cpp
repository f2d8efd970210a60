#include "util/scratch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "edgecompress/error.h"
#include "util/file.h"

namespace edgecompress {

namespace fs = std::filesystem;

ScratchFile::ScratchFile(const fs::path& folder, std::int64_t size) : folder_(folder), size_(size) {
  std::string name = (folder / ".scratch-XXXXXX").string();
  file_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (file_ < 0) throw write_error(folder_, errno);
  ::unlink(name.c_str());
  const int failure = size > 0 ? ::posix_fallocate(file_, 0, size) : 0;
  if (failure == 0) return;
  ::close(file_);
  throw write_error(folder_, failure);
}

ScratchFile::~ScratchFile() { ::close(file_); }

void ScratchFile::write(std::int64_t offset, const void* from, std::int64_t count) {
  check_within(offset, count);
  const char* bytes = static_cast<const char*>(from);
  while (count > 0) {
    const ssize_t done = ::pwrite(file_, bytes, static_cast<std::size_t>(count), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw write_error(folder_, errno);
    bytes += done;
    offset += done;
    count -= done;
  }
}

void ScratchFile::read(std::int64_t offset, void* to, std::int64_t count) const {
  check_within(offset, count);
  char* bytes = static_cast<char*>(to);
  while (count > 0) {
    const ssize_t done = ::pread(file_, bytes, static_cast<std::size_t>(count), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) throw write_error(folder_, done < 0 ? errno : EIO);
    bytes += done;
    offset += done;
    count -= done;
  }
}

void ScratchFile::check_within(std::int64_t offset, std::int64_t count) const {
  if (offset >= 0 && count >= 0 && count <= size_ && offset <= size_ - count) return;
  throw Error(ExitCode::kInternal,
              "a range beyond the end of a scratch file of " + std::to_string(size_) + " bytes");
}

}  // namespace edgecompress
