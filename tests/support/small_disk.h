// A full disk, for real: a tiny file system in a child process, which takes it along when it ends.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string>

namespace edgecompress::testing {

constexpr int kNoMount = 77;

inline bool write_to(const char* file, const std::string& text) {
  const int descriptor = ::open(file, O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool is_done = ::write(descriptor, text.data(), text.size()) == ssize_t(text.size());
  return ::close(descriptor) == 0 && is_done;
}

/// Mounts of this process are its own from here on: as root at once, else as root of a user
/// namespace. For a process of one thread.
inline bool leave_mount_namespace() {
  const std::string user = std::to_string(::geteuid()), group = std::to_string(::getegid());
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    write_to("/proc/self/setgroups", "deny");
    if (!write_to("/proc/self/uid_map", "0 " + user + " 1")) return false;
    if (!write_to("/proc/self/gid_map", "0 " + group + " 1")) return false;
  }
  return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

/// A tmpfs on `folder`; `options` are those of mount(8), as "size=64k". False: not allowed here.
inline bool mount_tmpfs(const std::filesystem::path& folder, const std::string& options) {
  return ::mount("tmpfs", folder.c_str(), "tmpfs", 0, options.c_str()) == 0;
}

/// Runs `work` in a child where `folder` is a tmpfs with these options; its failed expectations
/// fail the test. The mount goes when the child ends, however it ends. Skips the test where no
/// file system can be mounted, so call it last.
template <class Work>
void on_small_disk(const std::filesystem::path& folder, const std::string& options,
                   const Work& work) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0) << std::strerror(errno);
  if (child == 0) {
    if (!leave_mount_namespace() || !mount_tmpfs(folder, options)) ::_exit(kNoMount);
    try {
      work();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    std::fflush(nullptr);
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoMount) {
    GTEST_SKIP() << "no file system can be mounted here (neither root nor user namespaces)";
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << "in the child, see above; status " << status;
}

}  // namespace edgecompress::testing
