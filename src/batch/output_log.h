// What a process prints, kept in a file that can't grow without bound.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace edgecompress {

/// The first and the last of the output: what came first as it comes, the last when it is closed.
class OutputLog {
 public:
  static constexpr std::size_t kHead = std::size_t{1} << 19, kTail = std::size_t{1} << 16;

  /// Makes the folder too. Throws Error(kOutput). A disk that is full later costs lines, no more.
  explicit OutputLog(const std::filesystem::path& path);
  ~OutputLog();
  OutputLog(const OutputLog&) = delete;
  OutputLog& operator=(const OutputLog&) = delete;

  void add(std::string_view bytes);
  void close();

  /// Of the lines so far that hold anything but a hint; a line is cut after 1000 characters.
  const std::string& last_line() const { return last_line_; }
  /// What the last line that begins with "error: " says after it.
  const std::string& last_error() const { return last_error_; }

 private:
  void write(std::string_view bytes);
  void end_line();

  int file_;
  std::size_t written_ = 0;
  std::uint64_t left_out_ = 0;
  std::string tail_;
  std::string line_, last_line_, last_error_;
};

}  // namespace edgecompress
