// Inputs made of named parts, and files that exist in memory only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace edgecompress::fuzz {

struct Part {
  std::string name;
  std::string_view bytes;
  bool is_deflated = false;
};

/// What "@@ NAME" lines divide; see readers.h. What is before the first is left out.
std::vector<Part> split_parts(std::string_view input);
/// The bytes of the part, or "".
std::string_view part(const std::vector<Part>& parts, std::string_view name);

/// A zip archive with right checksums; "" for parts that no archive can hold.
std::string pack(const std::vector<Part>& parts);

/// A file whose content is `bytes`, by a path that holds until the next call.
std::string memory_file(std::string_view bytes);

}  // namespace edgecompress::fuzz
