// One model's process: limits on what it may take, its output in a file of bounded size, and how it
// ended. The controller is one thread, and nothing here waits.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "batch/output_log.h"

namespace edgecompress {

/// 0: no limit.
struct ChildLimits {
  /// Of memory that is its own (anonymous pages, resident or swapped): what a machine runs out of.
  /// Address space would be the wrong measure, LibTorch reserves far more than it uses, and so
  /// would the resident set, which counts LibTorch's own code in every process. It is looked at
  /// several times a second; a single allocation of more than the limit fails at once.
  std::int64_t memory_bytes = 0;
  double seconds = 0;            ///< on the clock
  std::int64_t cpu_seconds = 0;  ///< of all its threads together
  double grace_seconds = 10;     ///< from SIGTERM to SIGKILL
};

struct ChildEnd {
  enum class Cause { kExited, kSignalled, kTime, kCpuTime, kMemory, kInterrupted };
  Cause cause = Cause::kExited;
  std::optional<int> exit_code;  ///< exactly one of the two is there
  std::optional<int> signal;
  double seconds = 0, cpu_seconds = 0;
  std::int64_t peak_memory_bytes = 0;  ///< largest resident set
  std::string last_error;              ///< what its last line "error: ..." says
  std::string last_line;
};

class Child {
 public:
  /// Starts the program command[0] (looked for on PATH) in a process group of its own, with no
  /// input, that dies with the calling thread. What it prints goes to the file `log`. Throws
  /// Error(kInternal) where it can't be started, Error(kOutput) where the file can't be written.
  Child(const std::vector<std::string>& command, const std::filesystem::path& log,
        const ChildLimits& limits);
  /// Kills what is left of it.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t id() const { return id_; }
  double seconds() const;
  std::int64_t memory_bytes() const { return memory_bytes_; }
  const std::string& last_line() const { return log_.last_line(); }

  /// Takes in what it printed, and ends it where it is over a limit. Call it a few times a second;
  /// the end, once there is one.
  const std::optional<ChildEnd>& look();
  /// Tells it to stop; it is killed when it hasn't after its time of grace.
  void interrupt() { stop(ChildEnd::Cause::kInterrupted); }

 private:
  using Clock = std::chrono::steady_clock;

  void stop(ChildEnd::Cause why);
  void take_output();
  void check_limits();
  void reap();

  ChildLimits limits_;
  Clock::time_point started_;
  OutputLog log_;
  pid_t id_ = -1;
  int output_ = -1;
  std::int64_t memory_bytes_ = 0;
  std::optional<ChildEnd::Cause> stopped_for_;
  Clock::time_point stopped_at_;
  std::optional<ChildEnd> end_;
};

}  // namespace edgecompress
