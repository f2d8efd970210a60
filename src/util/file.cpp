#include "util/file.h"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "util/log.h"
#include "util/text.h"

namespace edgecompress {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16;

std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail_output(const fs::path& path, const std::string& why,
                              const std::string& hint = {}) {
  throw Error(ExitCode::kOutput, path.string() + ": can't be written: " + why, hint);
}

/// A file descriptor that is closed on every way out.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }

 private:
  int number_;
};

/// 0, or why not all of it could be written.
int write_all(const Descriptor& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.number(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

Descriptor open_to_read(const fs::path& path) {
  return Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

/// The file piece by piece.
void read_pieces(const fs::path& path, ExitCode code,
                 const std::function<void(std::string_view)>& take) {
  const auto fail = [&] { throw Error(code, path.string() + ": can't be read: " + reason(errno)); };
  const Descriptor file = open_to_read(path);
  if (!file.is_open()) fail();
  std::vector<char> chunk(kChunk);
  while (true) {
    const ssize_t count = ::read(file.number(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail();
    if (count == 0) return;
    take({chunk.data(), static_cast<std::size_t>(count)});
  }
}

// Some file systems can't sync a folder or a file opened for reading; that is no failure.
void sync(const fs::path& path) {
  const Descriptor file = open_to_read(path);
  if (file.is_open() && ::fsync(file.number()) != 0 && (errno == EIO || errno == ENOSPC)) {
    throw write_error(path, errno);
  }
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// The topmost folder on the way to `path` that does not exist; empty if all do.
fs::path first_missing(const fs::path& path) {
  fs::path missing;
  for (fs::path folder = path; !folder.empty() && !fs::exists(folder);
       folder = folder.parent_path()) {
    missing = folder;
  }
  return missing;
}

/// Removes `folder` and those above it up to `topmost`; one that somebody has used meanwhile stays.
void remove_empty(fs::path folder, const fs::path& topmost) {
  if (topmost.empty()) return;
  for (std::error_code error; !error && folder != topmost.parent_path();
       folder = folder.parent_path()) {
    fs::remove(folder, error);  // no error if it was never made
  }
}

std::string partial_prefix(const fs::path& final_path) {
  return "." + final_path.filename().string() + ".partial-";
}

std::string partial_name(const fs::path& final_path) {
  return partial_prefix(final_path) + std::to_string(::getpid());
}

bool is_partial(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.front() == '.' && name.find(".partial-") != std::string::npos;
}

/// A lock on the folder for as long as the descriptor is open; -1 where it can't be had.
int lock_folder(const fs::path& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (file >= 0 && ::flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  if (file >= 0) ::close(file);
  return -1;
}

/// Whether a process of this machine has that number. Where it hasn't, one of another machine that
/// shares the disk may: it holds the lock.
bool is_process(std::string_view number) {
  pid_t id = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id);
  const bool is_number = error == std::errc() && end == number.data() + number.size() && id > 0;
  return !is_number || ::kill(id, 0) == 0 || errno != ESRCH;
}

/// Removes the staging folders in `folder` of processes that were killed while they wrote to
/// `final_path`: real folders of this user with nobody at work in them.
void remove_abandoned(const fs::path& folder, const fs::path& final_path) {
  const std::string prefix = partial_prefix(final_path);
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (starts_with(name, prefix) && !is_process(std::string_view(name).substr(prefix.size()))) {
      found.push_back(entry.path());
    }
  }
  for (const fs::path& path : found) {
    const Descriptor lock(lock_folder(path));
    struct stat status {};
    if (!lock.is_open() || ::fstat(lock.number(), &status) != 0) continue;
    if (status.st_uid != ::geteuid() || fs::remove_all(path, ignored) == 0) continue;
    log().info("removed {}, which a run that was killed left", path.string());
  }
}

}  // namespace

Error write_error(const fs::path& path, int error) {
  const bool is_full = error == ENOSPC || error == EDQUOT;
  return Error(ExitCode::kOutput, path.string() + ": can't be written: " + reason(error),
               is_full ? "Free some space there, or write elsewhere." : "");
}

std::string read_file(const fs::path& path, ExitCode code, std::int64_t limit) {
  std::string bytes;
  read_pieces(path, code, [&](std::string_view piece) {
    bytes.append(piece);
    if (static_cast<std::int64_t>(bytes.size()) <= limit) return;
    throw Error(code, path.string() + ": can't be read: it is larger than the " +
                          std::to_string(limit) + " bytes that are read at most");
  });
  return bytes;
}

void write_file_atomic(const fs::path& path, const std::function<void(const ByteSink&)>& fill) {
  const fs::path temporary = parent_of(path) / partial_name(path);
  try {
    {
      // Never through a link of that name that somebody has put there.
      ::unlink(temporary.c_str());
      const Descriptor file(
          ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (!file.is_open()) throw write_error(path, errno);
      int error = 0;
      fill([&](std::string_view bytes) {
        if (error == 0) error = write_all(file, bytes);
      });
      if (error == 0 && ::fsync(file.number()) != 0) error = errno;
      if (error != 0) throw write_error(path, error);
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) throw write_error(path, errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync(parent_of(path));
}

void write_file_atomic(const fs::path& path, std::string_view bytes) {
  write_file_atomic(path, [&](const ByteSink& write) { write(bytes); });
}

void copy_file_atomic(const fs::path& from, const fs::path& to, ExitCode code) {
  write_file_atomic(to, [&](const ByteSink& write) { read_pieces(from, code, write); });
}

StagedDirectory::StagedDirectory(fs::path final_path, bool overwrite)
    : final_(std::move(final_path)) {
  // "out/" and "out" are the same folder, and a bare name needs a parent to stand in.
  final_ = fs::absolute(final_).lexically_normal();
  if (!final_.has_filename()) final_ = final_.parent_path();
  try {
    remove_abandoned(parent_of(final_), final_);
    if (!fs::exists(final_)) {
      if (fs::is_symlink(final_)) fail_output(final_, "it is a symbolic link to nothing");
      made_ = first_missing(parent_of(final_));
      fs::create_directories(parent_of(final_));
      staging_ = parent_of(final_) / partial_name(final_);
    } else if (!fs::is_directory(final_)) {
      fail_output(final_, "it is a file, not a folder");
    } else {
      remove_abandoned(final_, final_);
      const bool is_used = std::any_of(fs::directory_iterator(final_), fs::directory_iterator(),
                                       [](const auto& entry) { return !is_partial(entry.path()); });
      if (is_used && !overwrite) {
        fail_output(final_, "the folder is not empty",
                    "choose another folder, or allow overwriting (--overwrite)");
      }
      staging_ = final_ / partial_name(final_);
    }
    fs::remove_all(staging_);
    if (!fs::create_directory(staging_)) {
      fail_output(final_, staging_.filename().string() + " is in the way");
    }
    lock_ = lock_folder(staging_);
  } catch (const fs::filesystem_error& error) {
    remove_empty(parent_of(final_), made_);
    throw write_error(final_, error.code().value());
  }
}

StagedDirectory::~StagedDirectory() {
  if (lock_ >= 0) ::close(lock_);
  if (is_committed_) return;
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
  remove_empty(parent_of(final_), made_);
}

void StagedDirectory::commit() {
  try {
    for (const auto& entry : fs::recursive_directory_iterator(staging_)) sync(entry.path());
    sync(staging_);
    if (fs::exists(final_)) {
      move_into_final_folder();
    } else {
      fs::rename(staging_, final_);
    }
    is_committed_ = true;
    sync(final_);
    sync(parent_of(final_));
  } catch (const fs::filesystem_error& error) {
    throw write_error(final_, error.code().value());
  }
}

void StagedDirectory::move_into_final_folder() {
  std::vector<fs::path> names;
  for (const auto& entry : fs::directory_iterator(staging_)) {
    names.push_back(entry.path().filename());
  }
  // What is replaced is kept until all is in place, so that a move that fails can be undone.
  const fs::path replaced = staging_ / partial_name("replaced");
  fs::create_directory(replaced);
  std::vector<std::pair<fs::path, fs::path>> moves;
  const auto move = [&moves](const fs::path& from, const fs::path& to) {
    fs::rename(from, to);
    moves.emplace_back(from, to);
  };
  try {
    for (const fs::path& name : names) {
      if (fs::exists(fs::symlink_status(final_ / name))) move(final_ / name, replaced / name);
      move(staging_ / name, final_ / name);
    }
  } catch (const fs::filesystem_error&) {
    std::error_code ignored;
    std::for_each(moves.rbegin(), moves.rend(),
                  [&](const auto& done) { fs::rename(done.second, done.first, ignored); });
    throw;
  }
  std::error_code ignored;  // all is in place; what can't be removed harms nobody
  fs::remove_all(staging_, ignored);
}

std::int64_t deflated_size(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ExitCode::kData, path.string() + ": can't be read");
  z_stream stream{};
  if (::deflateInit(&stream, 6) != Z_OK) throw Error(ExitCode::kInternal, "zlib can't start");
  std::vector<char> in(kChunk), out(kChunk);
  std::int64_t size = 0;
  int state = Z_OK;
  while (state != Z_STREAM_END) {
    file.read(in.data(), static_cast<std::streamsize>(in.size()));
    stream.next_in = reinterpret_cast<Bytef*>(in.data());
    stream.avail_in = static_cast<uInt>(file.gcount());
    do {
      stream.next_out = reinterpret_cast<Bytef*>(out.data());
      stream.avail_out = static_cast<uInt>(out.size());
      state = ::deflate(&stream, file.eof() ? Z_FINISH : Z_NO_FLUSH);
      size += static_cast<std::int64_t>(out.size() - stream.avail_out);
    } while (stream.avail_out == 0);
    if (file.bad()) {
      ::deflateEnd(&stream);
      throw Error(ExitCode::kData, path.string() + ": can't be read");
    }
  }
  ::deflateEnd(&stream);
  return size;
}

}  // namespace edgecompress
