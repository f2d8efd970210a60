#include "batch/child.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "edgecompress/error.h"
#include "support/temporary_folder.h"

namespace edgecompress {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;
using Cause = ChildEnd::Cause;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

ChildEnd wait_for(Child& child) {
  while (!child.look()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return *child.look();
}

class ChildTest : public ::testing::Test {
 protected:
  ChildEnd run(const std::string& script, const ChildLimits& limits = {}) {
    Child child({"/bin/sh", "-c", script}, log(), limits);
    return wait_for(child);
  }
  std::filesystem::path log() const { return folder_.path() / "net" / "batch.log"; }

  TemporaryFolder folder_;
};

TEST_F(ChildTest, TellsTheExitCodeAndTheLastError) {
  const ChildEnd end =
      run("echo first; echo 'error: one' >&2; echo 'error: two' >&2; echo; exit 4");
  EXPECT_EQ(end.cause, Cause::kExited);
  EXPECT_EQ(end.exit_code, 4);
  EXPECT_FALSE(end.signal);
  EXPECT_EQ(end.last_error, "two");
  EXPECT_EQ(end.last_line, "error: two");
  EXPECT_EQ(read(log()), "first\nerror: one\nerror: two\n\n");
  EXPECT_GT(end.peak_memory_bytes, 100'000);
}

TEST_F(ChildTest, TellsTheSignalOfACrash) {
  const ChildEnd end = run("kill -SEGV $$");
  EXPECT_EQ(end.cause, Cause::kSignalled);
  EXPECT_EQ(end.signal, SIGSEGV);
  EXPECT_FALSE(end.exit_code);
}

TEST_F(ChildTest, OneThatHangsIsToldToStop) {
  ChildLimits limits;
  limits.seconds = 0.1;
  const ChildEnd end = run("exec sleep 1000", limits);
  EXPECT_EQ(end.cause, Cause::kTime);
  EXPECT_EQ(end.signal, SIGTERM);
}

TEST_F(ChildTest, OneThatWillNotStopIsKilledAfterItsGrace) {
  ChildLimits limits;
  limits.seconds = 0.1;
  limits.grace_seconds = 0.1;
  const ChildEnd end = run("trap '' TERM; while true; do sleep 0.01; done", limits);
  EXPECT_EQ(end.cause, Cause::kTime);
  EXPECT_EQ(end.signal, SIGKILL);
}

TEST_F(ChildTest, OneThatGrowsWithoutBoundIsKilled) {
  ChildLimits limits;
  limits.memory_bytes = 30 << 20;
  limits.seconds = 100;
  const ChildEnd end = run("exec tail /dev/zero", limits);  // it looks for a line's beginning
  EXPECT_EQ(end.cause, Cause::kMemory);
  EXPECT_GT(end.peak_memory_bytes, 30 << 20);
  EXPECT_LT(end.peak_memory_bytes, 600 << 20) << "no more than the limit and what is reserved";
}

TEST_F(ChildTest, OneThatComputesWithoutEndIsStoppedForItsCpuTime) {
  ChildLimits limits;
  limits.cpu_seconds = 1;
  const ChildEnd end = run("while true; do :; done", limits);
  EXPECT_EQ(end.cause, Cause::kCpuTime);
  EXPECT_GT(end.cpu_seconds, 0.9);
  EXPECT_LT(end.cpu_seconds, 3);
}

TEST_F(ChildTest, AnInterruptIsItsCauseWhateverTheExitCode) {
  Child child(
      {"/bin/sh", "-c", "trap 'exit 130' TERM; echo ready; while true; do sleep 0.01; done"}, log(),
      {});
  while (child.last_line() != "ready") child.look();
  child.interrupt();
  const ChildEnd end = wait_for(child);
  EXPECT_EQ(end.cause, Cause::kInterrupted);
  EXPECT_EQ(end.exit_code, 130);
}

TEST_F(ChildTest, WhatItStartedGoesWithIt) {
  const ChildEnd end = run("sleep 1000 & echo $!");
  EXPECT_EQ(end.exit_code, 0);
  const pid_t left = std::stoi(end.last_line);
  for (int i = 0; i < 1000 && kill(left, 0) == 0; ++i) {
    std::ifstream stat("/proc/" + end.last_line + "/stat");
    std::string id, name, state;
    if (stat >> id >> name >> state && state == "Z") return;  // dead, whoever should reap it
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_NE(kill(left, 0), 0);
}

TEST_F(ChildTest, DiesWithItsController) {
  const pid_t controller = fork();
  if (controller == 0) {
    Child child({"/bin/sh", "-c", "echo $$; exec sleep 1000"}, log(), {});
    while (child.last_line().empty()) child.look();
    std::ofstream(folder_.path() / "id") << child.last_line();
    kill(getpid(), SIGKILL);
  }
  waitpid(controller, nullptr, 0);
  const std::string id = read(folder_.path() / "id");
  ASSERT_FALSE(id.empty());
  for (int i = 0; i < 1000; ++i) {
    if (read("/proc/" + id + "/cmdline").empty()) return;  // gone, or a zombie
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  FAIL() << "it still runs";
}

TEST_F(ChildTest, ALogIsBoundedAndKeepsBeginningAndEnd) {
  const ChildEnd end =
      run("echo the beginning; yes 0123456789 | head -c 3000000; echo; echo the end");
  EXPECT_EQ(end.exit_code, 0);
  const std::string text = read(log());
  EXPECT_LT(text.size(), OutputLog::kHead + 2 * OutputLog::kTail + 100);
  EXPECT_EQ(text.substr(0, 14), "the beginning\n");
  EXPECT_EQ(text.substr(text.size() - 8), "the end\n");
  EXPECT_THAT(text, HasSubstr("bytes are left out here"));
}

TEST_F(ChildTest, OneThatPrintsALineWithoutEndDoesNotFillTheController) {
  const ChildEnd end = run("head -c 2000000 /dev/zero | tr '\\0' x");
  EXPECT_EQ(end.last_line, std::string(1000, 'x'));
}

TEST_F(ChildTest, ReadsNoInput) { EXPECT_EQ(run("read line && exit 1; exit 0").exit_code, 0); }

TEST_F(ChildTest, AProgramThatIsNotThereIsAnError) {
  try {
    Child({"/no/such/program"}, log(), {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/no/such/program: can't be started: No such file"));
  }
}

TEST_F(ChildTest, ALinkInPlaceOfTheLogIsNotFollowed) {
  std::filesystem::create_directories(log().parent_path());
  std::filesystem::create_symlink(folder_.path() / "elsewhere", log());
  EXPECT_THROW(run("true"), Error);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "elsewhere"));
}

}  // namespace
}  // namespace edgecompress
