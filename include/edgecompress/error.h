// The error contract: every failure a user can meet is an `Error` with a documented exit code, one
// readable message and, where there is one, a way out. Library code throws it and never prints or
// exits; the one catch is in cli/app.cpp.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace edgecompress {

/// Exit codes of the binary. They are part of the public contract: never renumber them.
enum class ExitCode : int {
  kDone = 0,
  kInternal = 1,      ///< a bug in edgecompress or in LibTorch
  kUsage = 2,         ///< wrong command line
  kRecipe = 3,        ///< recipe not valid
  kModel = 4,         ///< model file can't be used
  kData = 5,          ///< data can't be used
  kPass = 6,          ///< a pass failed on a valid model
  kGate = 7,          ///< finished, outputs written, but a gate was not met
  kOutput = 8,        ///< output can't be written (permission, existing file, full disk)
  kInterrupted = 130  ///< stopped by SIGINT or SIGTERM
};

class Error : public std::runtime_error {
 public:
  /// `message` says where and what was found and expected; `hint` says what to do, or is empty.
  Error(ExitCode code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}

  ExitCode code() const { return code_; }
  const std::string& hint() const { return hint_; }

 private:
  ExitCode code_;
  std::string hint_;
};

}  // namespace edgecompress
