#include "model/archive_code.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kLargestText = std::uint64_t{256} << 20;
// With a stack of 8 MiB, LibTorch 1.13 ends between 5000 and 15000 of each.
constexpr std::size_t kDeepestBrackets = 1000;
constexpr std::size_t kDeepestIndent = 1000;
/// Characters of one expression, without what is in brackets: each operator nests those before it.
constexpr std::size_t kLongestExpression = 4096;

/// Goes through a text once and notices what nests too deep. It knows of Python's syntax just what
/// brackets, commas, strings and comments are.
class NestingCheck {
 public:
  explicit NestingCheck(std::string_view text) : text_(text) {}

  bool is_shallow() {
    while (at_ < text_.size()) {
      const char letter = text_[at_++];
      if (letter == '"' || letter == '\'') {
        skip_string(letter);
      } else if (letter == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (letter == '(' || letter == '[' || letter == '{') {
        lengths_.push_back(0);
      } else if (letter == ')' || letter == ']' || letter == '}') {
        if (lengths_.size() > 1) lengths_.pop_back();
      } else if (letter == '\n' && lengths_.size() == 1) {
        lengths_.back() = 0;
        if (indent() > kDeepestIndent) return false;
      } else if (letter == ',') {
        lengths_.back() = 0;
      } else if (letter != ' ') {
        ++lengths_.back();
      }
      if (lengths_.size() > kDeepestBrackets || lengths_.back() > kLongestExpression) return false;
    }
    return true;
  }

 private:
  void skip_string(char quote) {
    while (at_ < text_.size() && text_[at_] != quote) at_ += text_[at_] == '\\' ? 2 : 1;
    ++at_;
  }
  std::size_t indent() const {
    return std::min(text_.find_first_not_of(' ', at_), text_.size()) - std::min(at_, text_.size());
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<std::size_t> lengths_ = {0};  // of the expression in each open bracket
};

bool is_shallow(const std::string& text) { return NestingCheck(text).is_shallow(); }

/// The record that LibTorch would take it for, which it finds in whatever case.
std::string record_of(const std::string& name) {
  std::string record = name.substr(std::min(name.find('/'), name.size() - 1) + 1);
  std::transform(record.begin(), record.end(), record.begin(),
                 [](unsigned char letter) { return std::tolower(letter); });
  return record;
}

}  // namespace

void check_archive_code(const ZipArchive& archive) {
  for (const std::string& name : archive.names()) {
    const std::string record = record_of(name);
    if (!starts_with(record, "code/") || !ends_with(record, ".py")) continue;
    const auto size = archive.size_of(record).value_or(0);
    if (size <= kLargestText && is_shallow(archive.read(record, size))) continue;
    throw Error(
        ExitCode::kModel,
        fmt::format("{}: {}: nested deeper than any network's code", archive.path().string(), name),
        "get the file from its source again; if it comes from somebody you don't know, do not load "
        "it");
  }
}

}  // namespace edgecompress
