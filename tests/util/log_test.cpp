#include "util/log.h"

#include <gtest/gtest.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/expect_error.h"
#include "support/small_disk.h"
#include "support/temporary_folder.h"
#include "util/file.h"

namespace edgecompress {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

TEST(Log, SaysNothingUntilItIsToldWhere) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  log().error("unheard");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

TEST(Log, WritesOneJsonObjectALine) {
  ::testing::internal::CaptureStderr();
  log_to_stderr({LogOptions::Level::kNormal, true});
  log().info("a \"quoted\"\nmessage \xff");
  log().debug("too fine");
  log().flush();
  const std::string text = ::testing::internal::GetCapturedStderr();
  const auto line = nlohmann::json::parse(text);
  EXPECT_EQ(line.at("message"), "a \"quoted\"\nmessage \xEF\xBF\xBD");  // U+FFFD
  EXPECT_EQ(line.at("level"), "info");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(Log, KeepsToTheChosenLevel) {
  ::testing::internal::CaptureStderr();
  log_to_stderr({LogOptions::Level::kQuiet, false});
  log().info("quiet hides this");
  log().warn("and shows this");
  log_to_stderr({LogOptions::Level::kVerbose, false});
  log().debug("verbose shows this");
  log().flush();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "warning: and shows this\ndebug: verbose shows this\n");
}

TEST(LogFile, HoldsWhatIsLoggedWhileItLives) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "run.log";
  log().info("before");
  {
    const LogFile file(path);
    log().debug("within");
  }
  log().info("after");
  const std::string text = read_file(path, ExitCode::kData, 10000);
  EXPECT_NE(text.find("debug: within\n"), std::string::npos);
  EXPECT_EQ(text.find("before"), std::string::npos);
  EXPECT_EQ(text.find("after"), std::string::npos);
}

TEST(LogFile, SaysWhereItCannotWrite) {
  expect_error(ExitCode::kOutput, "/proc/nowhere/run.log",
               [] { LogFile("/proc/nowhere/run.log"); });
}

TEST(LogFile, TellsOfAFullDiskWhenItIsClosed) {
  const TemporaryFolder folder;
  testing::on_small_disk(folder.path(), "size=8k", [&] {
    log_to_stderr({LogOptions::Level::kQuiet, false});
    const auto path = folder.path() / "run.log";
    LogFile file(path);
    for (int i = 0; i < 1000; ++i) log().info("a line that is too much for the disk");
    log().flush();
    expect_error(ExitCode::kOutput, path.string() + ": can't be written: No space left",
                 [&] { file.close(); });
    const LogFile unclosed(path);
    for (int i = 0; i < 1000; ++i) log().info("an error under way matters more than the log");
  });
}

}  // namespace
}  // namespace edgecompress
