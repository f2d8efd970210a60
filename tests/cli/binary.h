// The real binary, run as a user runs it.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace edgecompress::testing {

struct BinaryResult {
  int code = -1;  ///< exit code, or 128 + the signal that ended it
  std::string out, err;
};

/// Runs `edgecompress arguments...`. `on_stderr`, if given, is called with all of stderr whenever
/// more of it came, and with the process's id.
BinaryResult run_binary(const std::vector<std::string>& arguments,
                        const std::function<void(const std::string& err, int pid)>& on_stderr = {});

/// Starts the binary and kills it after so long, if it still runs: its exit code, or 128 + SIGKILL.
int kill_binary_after(const std::vector<std::string>& arguments, std::chrono::milliseconds delay);

/// As run_binary(), through a shell: `command` says edgecompress as "$EDGECOMPRESS".
BinaryResult run_shell(const std::string& command);

}  // namespace edgecompress::testing
