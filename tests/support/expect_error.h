// Checks of the error contract: code, message and hint of what is thrown.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "edgecompress/error.h"

namespace edgecompress::testing {

/// What `work` throws, or nothing (and the test fails) if it throws no Error.
template <class Work>
std::optional<Error> error_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error was thrown";
  return std::nullopt;
}

/// Expects `work` to throw an Error with this code whose message holds `part` (and whose hint holds
/// `hint`).
template <class Work>
void expect_error(ExitCode code, const std::string& part, const Work& work,
                  const std::string& hint = {}) {
  const auto error = error_of(work);
  if (!error) return;
  EXPECT_EQ(static_cast<int>(error->code()), static_cast<int>(code)) << error->what();
  EXPECT_NE(std::string(error->what()).find(part), std::string::npos)
      << "expected \"" << part << "\" in: " << error->what();
  EXPECT_NE(error->hint().find(hint), std::string::npos)
      << "expected \"" << hint << "\" in the hint: " << error->hint();
}

}  // namespace edgecompress::testing
