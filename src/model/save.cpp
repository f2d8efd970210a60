#include <fcntl.h>
#include <torch/csrc/jit/serialization/export.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>

#include "edgecompress/error.h"
#include "model/model.h"
#include "model/torch_error.h"

namespace edgecompress {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& reason) {
  throw Error(ExitCode::kOutput, "can't write the model " + path.string() + ": " + reason);
}

// On disk for good, so that a rename never uncovers an empty file after a power cut.
void sync(const std::filesystem::path& file) {
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(file, std::strerror(errno));
  const int result = fsync(descriptor);
  const int reason = errno;
  close(descriptor);
  if (result != 0) fail(file, std::strerror(reason));
}

// Removes what was not renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& final_path)
      : path_(final_path.parent_path() /
              ("." + final_path.filename().string() + ".partial-" + std::to_string(getpid()))) {}
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class EvalModeGuard {
 public:
  explicit EvalModeGuard(torch::jit::Module module, bool was_training)
      : module_(std::move(module)), was_training_(was_training) {
    if (was_training_) module_.train(false);
  }
  ~EvalModeGuard() {
    if (was_training_) module_.train(true);
  }
  EvalModeGuard(const EvalModeGuard&) = delete;
  EvalModeGuard& operator=(const EvalModeGuard&) = delete;

 private:
  torch::jit::Module module_;
  bool was_training_;
};

}  // namespace

void Model::save(const std::filesystem::path& path) const {
  const TemporaryFile temporary(path);
  const EvalModeGuard eval_mode(module_, is_training());
  errno = 0;
  std::ofstream file(temporary.path(), std::ios::binary | std::ios::trunc);
  if (!file) fail(path, std::strerror(errno));
  int write_error = 0;
  // LibTorch's writer throws from its destructor once a write fails, which ends the process. So it
  // never hears of a failure; we do, when it is done.
  const auto write = [&](const void* bytes, std::size_t count) {
    errno = 0;
    if (file && !file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(count))) {
      write_error = errno ? errno : EIO;
    }
    return count;
  };
  try {
    // Through a function, not by file name: that would become a name inside the archive, and the
    // same model would give other bytes elsewhere.
    torch::jit::ExportModule(module_, write);
  } catch (const std::exception& error) {
    fail(path, torch_message(error));
  }
  errno = 0;
  file.close();
  if (!file && write_error == 0) write_error = errno ? errno : EIO;
  if (write_error != 0) fail(path, std::strerror(write_error));
  sync(temporary.path());
  std::error_code error;
  std::filesystem::rename(temporary.path(), path, error);
  if (error) fail(path, error.message());
}

}  // namespace edgecompress
