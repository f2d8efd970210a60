// SHA-256 of files and strings, for fingerprints in reports.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace edgecompress {

/// Lower-case hexadecimal SHA-256 (64 characters).
std::string sha256(std::string_view bytes);
/// The same of a file, streamed. Throws Error(kData) if it can't be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace edgecompress
