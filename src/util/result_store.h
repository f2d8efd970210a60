// Results on disk that may be used again: each under a key, with a description and files. Old ones
// go where the store grows over its bound. Several processes may use one store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace edgecompress {

/// What one key stands for.
struct StoredResult {
  std::string key;                           ///< 64 hexadecimal digits
  nlohmann::json description;                ///< as it was put
  std::map<std::string, std::string> files;  ///< SHA-256 by name
  std::filesystem::path folder;              ///< where the files are
  std::int64_t bytes = 0;                    ///< of all files
  std::int64_t used_ns = 0;                  ///< when it was last put or found, Unix time
};

class ResultStore {
 public:
  /// The folder is made for the first result. `most_bytes`: of all results together.
  ResultStore(std::filesystem::path folder, std::int64_t most_bytes);

  /// Nothing where there is none, or it is damaged: every file is compared with its fingerprint.
  std::optional<StoredResult> find(const std::string& key) const;
  /// Keeps a result, whole or not at all: `fill` writes its files into an empty folder. Results
  /// that were used longest ago make room. False if this one alone is larger than the bound: then
  /// nothing changes. Throws what `fill` throws, and Error(kOutput).
  bool put(const std::string& key, const nlohmann::json& description,
           const std::function<void(const std::filesystem::path& folder)>& fill) const;

  /// All that are whole, the one used last first. Files are not compared.
  std::vector<StoredResult> list() const;
  /// False if there is none. Throws Error(kOutput) if it can't be removed.
  bool remove(const std::string& key) const;

  const std::filesystem::path& folder() const { return folder_; }
  std::int64_t most_bytes() const { return most_bytes_; }

 private:
  std::optional<StoredResult> read(const std::string& key) const;
  void make_room(const std::string& newest) const;

  std::filesystem::path folder_;
  std::int64_t most_bytes_;
};

}  // namespace edgecompress
