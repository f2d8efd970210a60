// The archive's own checks run here; LibTorch, which may crash, hang or take all memory over what
// it is given, in a child with limits, with all that we do to the network once it is loaded.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "edgecompress/error.h"
#include "fuzz/parts.h"
#include "fuzz/readers.h"
#include "model/archive.h"
#include "model/model.h"
#include "util/text.h"

// Where the compiler counts what was executed; absent unless it does.
extern "C" {
extern char __start___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern char __stop___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
}

namespace edgecompress::fuzz {
namespace {

constexpr rlim_t kMostSeconds = 5;
constexpr rlim_t kMostMemory = rlim_t{1} << 30;  // beyond what the process has already
constexpr int kRefused = 4, kBroken = 1;

/// Memory that a child shares with its parent.
class Shared {
 public:
  explicit Shared(std::size_t size) : size_(std::max<std::size_t>(size, 1)) {
    void* memory =
        ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
    bytes_ = static_cast<char*>(memory);
  }
  ~Shared() { ::munmap(bytes_, size_); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  char* bytes() const { return bytes_; }

 private:
  std::size_t size_;
  char* bytes_;
};

void limit(int resource, rlim_t most) {
  const rlimit limits = {most, most};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limits);
}

void set_limits() {
  std::ifstream sizes("/proc/self/statm");
  rlim_t pages = 0;  // the sixth number: data
  for (int i = 0; i < 6; ++i) sizes >> pages;
  limit(RLIMIT_DATA, pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + kMostMemory);
  limit(RLIMIT_CPU, kMostSeconds);
  limit(RLIMIT_CORE, 0);
  std::signal(SIGALRM, SIG_DFL);  // libFuzzer's handler waits for its own timeout
  ::alarm(2 * kMostSeconds);
}

/// What the child does; its exit code.
int load(const std::string& path) {
  try {
    InputSpec image;
    image.shape = {1, 3, 8, 8};
    Model::load(path, {image});
    return 0;
  } catch (const Error& error) {
    if (error.code() == ExitCode::kModel) return kRefused;
    std::fprintf(stderr, "exit code %d: %s\n", static_cast<int>(error.code()), error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "not an Error: %s\n", error.what());
  }
  return kBroken;
}

/// Runs `work` in a child; its status as waitpid gives it. What it executed counts as if it had
/// been executed here.
template <class Work>
int in_child(const Work& work) {
  const auto counters = static_cast<std::size_t>(__stop___sancov_cntrs - __start___sancov_cntrs);
  const Shared counted(counters);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("no child");
  if (child == 0) {
    set_limits();
    const int code = work();
    if (counters > 0) std::memcpy(counted.bytes(), __start___sancov_cntrs, counters);
    std::fflush(nullptr);
    ::_exit(code);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {  // libFuzzer's timer
  }
  for (std::size_t i = 0; i < counters; ++i) {
    __start___sancov_cntrs[i] =
        std::max(__start___sancov_cntrs[i], counted.bytes()[i],
                 [](char a, char b) { return std::uint8_t(a) < std::uint8_t(b); });
  }
  return status;
}

}  // namespace

void read_torchscript(std::string_view input) {
  const std::string path =
      memory_file(starts_with(input, "PK") ? std::string(input) : pack(split_parts(input)));
  check_torchscript_archive(path);
  const int status = in_child([&path] { return load(path); });
  if (WIFEXITED(status) && WEXITSTATUS(status) == kRefused) {
    throw Error(ExitCode::kModel, "refused");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kBroken) {
    throw std::logic_error("not refused as a model is");
  }
  // Killed, by LibTorch's crash or by a limit: isolation is what holds then.
}

}  // namespace edgecompress::fuzz
