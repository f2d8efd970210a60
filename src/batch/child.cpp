#include "batch/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "edgecompress/error.h"

namespace edgecompress {

namespace {

/// Beyond the limit on memory of its own, for what is mapped writable and never touched: stacks of
/// threads, data segments of libraries.
[[maybe_unused]] constexpr std::int64_t kUntouchedBytes = std::int64_t{512} << 20;
constexpr rlim_t kCpuGraceSeconds = 5;

/// Closed in the programs that are started.
struct ClosedPipe {
  int read_end = -1, write_end = -1;
  ClosedPipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw Error(ExitCode::kInternal, std::string("no pipe can be made: ") + std::strerror(errno));
    }
    read_end = ends[0];
    write_end = ends[1];
  }
  ~ClosedPipe() {
    if (read_end >= 0) ::close(read_end);
    if (write_end >= 0) ::close(write_end);
  }
  ClosedPipe(const ClosedPipe&) = delete;
  ClosedPipe& operator=(const ClosedPipe&) = delete;
};

void limit(__rlimit_resource what, rlim_t soft, rlim_t hard) {
  const rlimit values = {soft, hard};
  ::setrlimit(what, &values);
}

/// Between fork and exec: only what is safe there. Returns where it failed, with errno.
void become(char* const* arguments, int output, const ChildLimits& limits, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it died before it could take us along
  limit(RLIMIT_CORE, 0, 0);
  if (limits.cpu_seconds > 0) {
    const auto seconds = static_cast<rlim_t>(limits.cpu_seconds);
    limit(RLIMIT_CPU, seconds, seconds + kCpuGraceSeconds);
  }
#ifndef __SANITIZE_ADDRESS__  // under it every process reserves terabytes
  if (limits.memory_bytes > 0) {
    const auto bytes = static_cast<rlim_t>(limits.memory_bytes + kUntouchedBytes);
    limit(RLIMIT_DATA, bytes, bytes);
  }
#endif
  // Where the machine as a whole runs out, the kernel takes this process and not the controller.
  const int score = ::open("/proc/self/oom_score_adj", O_WRONLY);
  if (score >= 0) {
    const ssize_t ignored = ::write(score, "500", 3);
    static_cast<void>(ignored);
    ::close(score);
  }
  const int input = ::open("/dev/null", O_RDONLY);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE}) ::signal(number, SIG_DFL);
  ::execvp(arguments[0], arguments);
}

/// The number after `key` in a text of lines "Key:   123 kB", in bytes.
std::int64_t kilobytes_after(const char* text, const char* key) {
  const char* place = std::strstr(text, key);
  return place == nullptr ? 0 : std::strtoll(place + std::strlen(key), nullptr, 10) * 1024;
}

/// Memory that is the process's own; 0 once it is gone.
std::int64_t private_memory(pid_t id) {
  std::array<char, 32> path;
  std::snprintf(path.data(), path.size(), "/proc/%d/status", static_cast<int>(id));
  const int file = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  std::array<char, 4096> text;
  const ssize_t count = ::read(file, text.data(), text.size() - 1);
  ::close(file);
  if (count <= 0) return 0;
  text[static_cast<std::size_t>(count)] = 0;
  return kilobytes_after(text.data(), "\nRssAnon:") + kilobytes_after(text.data(), "\nVmSwap:") +
         kilobytes_after(text.data(), "\nRssShmem:");
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

}  // namespace

Child::Child(const std::vector<std::string>& command, const std::filesystem::path& log,
             const ChildLimits& limits)
    : limits_(limits), started_(Clock::now()), log_(log) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ClosedPipe output, failure;
  const pid_t parent = ::getpid();
  id_ = ::fork();
  if (id_ < 0) {
    throw Error(ExitCode::kInternal,
                std::string("no process can be started: ") + std::strerror(errno));
  }
  if (id_ == 0) {
    become(arguments.data(), output.write_end, limits, parent);
    const int error = errno;
    const ssize_t ignored = ::write(failure.write_end, &error, sizeof error);
    static_cast<void>(ignored);
    ::_exit(127);
  }
  ::setpgid(id_, id_);  // whichever of the two comes first
  ::close(std::exchange(failure.write_end, -1));
  int error = 0;
  ssize_t count = 0;
  do {
    count = ::read(failure.read_end, &error, sizeof error);
  } while (count < 0 && errno == EINTR);
  if (count > 0) {
    ::waitpid(id_, nullptr, 0);
    id_ = -1;
    throw Error(ExitCode::kInternal, command[0] + ": can't be started: " + std::strerror(error));
  }
  output_ = std::exchange(output.read_end, -1);
  ::fcntl(output_, F_SETFL, O_NONBLOCK);
}

Child::~Child() {
  if (id_ > 0 && !end_) {
    ::kill(-id_, SIGKILL);
    while (::waitpid(id_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (output_ >= 0) ::close(output_);
}

double Child::seconds() const {
  return std::chrono::duration<double>(Clock::now() - started_).count();
}

const std::optional<ChildEnd>& Child::look() {
  if (end_) return end_;
  take_output();
  siginfo_t info = {};
  // It stays a zombie until its group is dead too: so long nobody else can have its number.
  if (::waitid(P_PID, static_cast<id_t>(id_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
      info.si_pid == id_) {
    reap();
  } else {
    check_limits();
  }
  return end_;
}

void Child::stop(ChildEnd::Cause why) {
  if (end_ || stopped_for_) return;
  stopped_for_ = why;
  stopped_at_ = Clock::now();
  // One that grows without bound is given no time for more.
  ::kill(-id_, why == ChildEnd::Cause::kMemory ? SIGKILL : SIGTERM);
}

void Child::take_output() {
  std::array<char, 16384> chunk;
  // A bounded share: one that prints without end does not keep the controller from the others.
  for (int i = 0; i < 16 && output_ >= 0; ++i) {
    const ssize_t count = ::read(output_, chunk.data(), chunk.size());
    if (count == 0) ::close(std::exchange(output_, -1));
    if (count <= 0) return;
    log_.add({chunk.data(), static_cast<std::size_t>(count)});
  }
}

void Child::check_limits() {
  memory_bytes_ = private_memory(id_);
  if (stopped_for_) {
    const double waited = std::chrono::duration<double>(Clock::now() - stopped_at_).count();
    if (waited > limits_.grace_seconds) ::kill(-id_, SIGKILL);
  } else if (limits_.memory_bytes > 0 && memory_bytes_ > limits_.memory_bytes) {
    stop(ChildEnd::Cause::kMemory);
  } else if (limits_.seconds > 0 && seconds() > limits_.seconds) {
    stop(ChildEnd::Cause::kTime);
  }
}

void Child::reap() {
  ::kill(-id_, SIGKILL);
  int status = 0;
  rusage usage = {};
  while (::wait4(id_, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  take_output();
  log_.close();
  ChildEnd end;
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  end.seconds = seconds();
  end.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  end.peak_memory_bytes = static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
  end.last_error = log_.last_error();
  end.last_line = log_.last_line();
  const bool is_over_cpu_time =
      limits_.cpu_seconds > 0 &&
      (end.signal == SIGXCPU ||
       (end.signal == SIGKILL && end.cpu_seconds >= static_cast<double>(limits_.cpu_seconds)));
  if (stopped_for_) {
    end.cause = *stopped_for_;
  } else if (is_over_cpu_time) {
    end.cause = ChildEnd::Cause::kCpuTime;
  } else {
    end.cause = end.signal ? ChildEnd::Cause::kSignalled : ChildEnd::Cause::kExited;
  }
  end_ = end;
}

}  // namespace edgecompress
