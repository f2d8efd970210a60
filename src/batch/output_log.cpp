#include "batch/output_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "util/file.h"
#include "util/text.h"

namespace edgecompress {

namespace {

constexpr std::size_t kLongestLine = 1000;

}  // namespace

OutputLog::OutputLog(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) throw write_error(path, error.value());
  // A link that somebody has put there is not followed.
  file_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (file_ < 0) throw write_error(path, errno);
}

OutputLog::~OutputLog() { close(); }

void OutputLog::add(std::string_view bytes) {
  for (const char letter : bytes) {
    if (letter == '\n' || letter == '\r') {
      end_line();
    } else if (line_.size() < kLongestLine) {
      line_ += letter;
    }
  }
  const std::size_t head = std::min(bytes.size(), kHead - written_);
  write(bytes.substr(0, head));
  written_ += head;
  tail_ += bytes.substr(head);
  if (tail_.size() <= 2 * kTail) return;
  left_out_ += tail_.size() - kTail;
  tail_.erase(0, tail_.size() - kTail);
}

void OutputLog::close() {
  if (file_ < 0) return;
  end_line();
  if (left_out_ > 0) write("\n[" + std::to_string(left_out_) + " bytes are left out here]\n");
  write(tail_);
  ::close(file_);
  file_ = -1;
}

void OutputLog::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void OutputLog::end_line() {
  constexpr std::string_view kError = "error: ";
  if (line_.empty()) return;
  if (starts_with(line_, kError)) last_error_ = line_.substr(kError.size());
  // A hint says what to do, not what happened.
  if (!starts_with(line_, "hint: ")) last_line_ = std::move(line_);
  line_.clear();
}

}  // namespace edgecompress
