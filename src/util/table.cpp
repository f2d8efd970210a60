#include "util/table.h"

#include <algorithm>
#include <stdexcept>

namespace edgecompress {

namespace {

// Characters, not bytes: cells hold en dashes and multiplication signs.
std::size_t width(const std::string& cell) {
  return static_cast<std::size_t>(
      std::count_if(cell.begin(), cell.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
}

std::string padded(const std::string& cell, std::size_t columns, Table::Align align) {
  const std::string spaces(columns - width(cell), ' ');
  return align == Table::Align::kRight ? spaces + cell : cell + spaces;
}

std::string escaped_for_markdown(const std::string& cell) {
  std::string text;
  for (const char letter : cell) {
    if (letter == '|') text += '\\';
    text += letter;
  }
  return text;
}

}  // namespace

Table::Table(std::vector<std::string> header, std::vector<Align> align) : align_(std::move(align)) {
  align_.resize(header.size(), Align::kLeft);
  rows_.push_back(std::move(header));
}

void Table::add_row(std::vector<std::string> cells) {
  if (cells.size() != rows_.front().size()) {
    throw std::invalid_argument("a row of " + std::to_string(cells.size()) +
                                " cells in a table of " + std::to_string(rows_.front().size()));
  }
  // Names come from files of strangers: nothing in them steers a terminal or ends a line.
  for (std::string& cell : cells) {
    std::replace_if(
        cell.begin(), cell.end(), [](unsigned char byte) { return byte < 0x20 || byte == 0x7F; },
        ' ');
  }
  rows_.push_back(std::move(cells));
}

std::string Table::console() const {
  std::vector<std::size_t> widths(align_.size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string text;
  const auto add_line = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += (i == 0 ? "" : "  ") + padded(row[i], widths[i], align_[i]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  add_line(rows_.front());
  std::vector<std::string> rule;
  for (const std::size_t columns : widths) rule.emplace_back(columns, '-');
  add_line(rule);
  for (std::size_t i = 1; i < rows_.size(); ++i) add_line(rows_[i]);
  return text;
}

std::string Table::markdown() const {
  std::string text;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    for (const std::string& cell : rows_[i]) text += "| " + escaped_for_markdown(cell) + " ";
    text += "|\n";
    if (i > 0) continue;
    for (const Align align : align_) text += align == Align::kRight ? "| ---: " : "| --- ";
    text += "|\n";
  }
  return text;
}

}  // namespace edgecompress
