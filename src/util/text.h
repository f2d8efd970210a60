// Small text helpers that know nothing of the product.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgecompress {

/// The candidate nearest to `name` by edit distance, or "" if none is near enough to be meant.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::vector<std::string> split(std::string_view text, char separator);
bool starts_with(std::string_view text, std::string_view prefix);
bool ends_with(std::string_view text, std::string_view suffix);
/// Broken between words into lines of at most `width` characters, each after `indent` and with a
/// newline; a longer word has a line of its own.
std::string wrapped(std::string_view text, std::size_t width, const std::string& indent);

/// "1.2 MB", "431 kB", "17 B": decimal units, as file managers show them.
std::string human_bytes(std::int64_t bytes);
/// "1.23 G", "45.6 M", "789": counts of parameters and MACs.
std::string human_count(std::int64_t count);
/// "850 ms", "12.3 s", "4 min 05 s", "2 h 03 min".
std::string human_duration(double seconds);

}  // namespace edgecompress
