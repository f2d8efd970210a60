// A table as text: aligned columns for a console, pipes for Markdown. It only formats.
#pragma once

#include <string>
#include <vector>

namespace edgecompress {

class Table {
 public:
  enum class Align { kLeft, kRight };
  explicit Table(std::vector<std::string> header, std::vector<Align> align = {});
  /// Control characters become spaces. Throws std::invalid_argument if the number of cells is not
  /// that of the header.
  void add_row(std::vector<std::string> cells);
  std::string console() const;
  std::string markdown() const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the first is the header
  std::vector<Align> align_;
};

}  // namespace edgecompress
