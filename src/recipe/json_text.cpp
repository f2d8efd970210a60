#include "recipe/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "edgecompress/error.h"

namespace edgecompress {

namespace {

constexpr int kDeepestNesting = 64;

/// "line 3, column 7" of the byte at `offset`; columns count characters.
std::string position(const std::string& text, std::size_t offset) {
  offset = std::min(offset, text.size());
  const std::size_t newline = offset == 0 ? std::string::npos : text.rfind('\n', offset - 1);
  const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
  const auto at = [&](std::size_t i) { return text.begin() + static_cast<std::ptrdiff_t>(i); };
  const auto line = std::count(text.begin(), at(offset), '\n') + 1;
  const auto column =
      std::count_if(at(begin), at(offset), [](char byte) { return (byte & 0xC0) != 0x80; }) + 1;
  return fmt::format("line {}, column {}", line, column);
}

/// What the JSON library says after its own prefix: "unexpected '}'; expected string literal".
std::string explanation(const std::string& what) {
  for (const char* prefix : {" - ", ": "}) {
    const std::size_t begin = what.find(prefix, what.find("syntax error"));
    if (begin != std::string::npos) return what.substr(begin + std::string(prefix).size());
  }
  return what;
}

/// Refuses what the JSON library lets pass: a key given twice (the last would silently win) and
/// nesting without end.
class Guard {
 public:
  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > kDeepestNesting) {
      throw Error(ExitCode::kRecipe, fmt::format("nested deeper than {} levels", kDeepestNesting));
    }
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw Error(ExitCode::kRecipe, fmt::format("the key \"{}\" is given twice in one object",
                                                 parsed.get<std::string>()));
    }
    return true;
  }

 private:
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Json parse_json(const std::string& text) {
  try {
    Guard guard;
    return Json::parse(text, [&guard](int depth, Json::parse_event_t event, Json& parsed) {
      return guard(depth, event, parsed);
    });
  } catch (const Json::parse_error& error) {
    const bool has_comment = text.find("//") != std::string::npos;
    throw Error(
        ExitCode::kRecipe,
        fmt::format("{}: not valid JSON: {}", position(text, error.byte == 0 ? 0 : error.byte - 1),
                    explanation(error.what())),
        has_comment ? "JSON has no comments; remove those with //" : "");
  } catch (const Json::exception& error) {
    throw Error(ExitCode::kRecipe, fmt::format("not valid JSON: {}", error.what()));
  }
}

}  // namespace edgecompress
