// A batch's manifest: models with what is different for each.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace edgecompress {

struct ManifestEntry {
  std::string model;             ///< as it is written
  std::string name;              ///< empty: after the file
  std::vector<std::string> set;  ///< inputs and data as well
};

/// Reads a file of at most 16 MiB. Throws Error(kUsage) naming it and the place.
std::vector<ManifestEntry> read_manifest(const std::filesystem::path& path);

}  // namespace edgecompress
