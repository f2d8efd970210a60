#include "cli/binary.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace edgecompress::testing {
namespace {

struct Pipe {
  int read_end, write_end;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    read_end = ends[0];
    write_end = ends[1];
  }
};

/// Appends what can be read; false at the end.
bool read_some(int file, std::string& text) {
  std::array<char, 4096> chunk;
  const ssize_t count = read(file, chunk.data(), chunk.size());
  if (count <= 0) return false;
  text.append(chunk.data(), static_cast<std::size_t>(count));
  return true;
}

/// A test that does not name a cache has none: what another one did is not to be found there.
void set_cache(const std::vector<std::string>& command) {
  const bool has_cache = std::find(command.begin(), command.end(), "--cache") != command.end();
  has_cache ? unsetenv("EDGECOMPRESS_NO_CACHE") : setenv("EDGECOMPRESS_NO_CACHE", "1", 1);
}

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

pid_t start(const std::vector<std::string>& command, const posix_spawn_file_actions_t& actions) {
  set_cache(command);
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.data()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  if (failed != 0) throw std::runtime_error("can't start " + command[0]);
  return pid;
}

BinaryResult run_program(const std::vector<std::string>& command,
                         const std::function<void(const std::string&, int)>& on_stderr) {
  const Pipe out, err;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.write_end, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write_end, STDERR_FILENO);
  const pid_t pid = start(command, actions);
  posix_spawn_file_actions_destroy(&actions);
  close(out.write_end);
  close(err.write_end);

  BinaryResult result;
  std::array<pollfd, 2> files = {{{out.read_end, POLLIN, 0}, {err.read_end, POLLIN, 0}}};
  while (files[0].fd >= 0 || files[1].fd >= 0) {
    poll(files.data(), files.size(), -1);
    if (files[0].revents != 0 && !read_some(files[0].fd, result.out)) files[0].fd = -1;
    if (files[1].revents != 0) {
      if (!read_some(files[1].fd, result.err)) {
        files[1].fd = -1;
      } else if (on_stderr) {
        on_stderr(result.err, pid);
      }
    }
  }
  close(out.read_end);
  close(err.read_end);
  int status = 0;
  waitpid(pid, &status, 0);
  result.code = code_of(status);
  return result;
}

}  // namespace

BinaryResult run_binary(const std::vector<std::string>& arguments,
                        const std::function<void(const std::string&, int)>& on_stderr) {
  std::vector<std::string> command = {EDGECOMPRESS_BINARY};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_program(command, on_stderr);
}

int kill_binary_after(const std::vector<std::string>& arguments, std::chrono::milliseconds delay) {
  std::vector<std::string> command = {EDGECOMPRESS_BINARY};
  command.insert(command.end(), arguments.begin(), arguments.end());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0);
  }
  const pid_t pid = start(command, actions);
  posix_spawn_file_actions_destroy(&actions);
  std::this_thread::sleep_for(delay);
  kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  return code_of(status);
}

BinaryResult run_shell(const std::string& command) {
  setenv("EDGECOMPRESS", EDGECOMPRESS_BINARY, 1);
  return run_program({"/bin/sh", "-c", command}, {});
}

}  // namespace edgecompress::testing
