// A folder for the time of its owner's life.
#pragma once

#include <filesystem>
#include <string>

namespace edgecompress {

class PassingFolder {
 public:
  /// Makes PARENT/PREFIX and six letters that no other folder has. Throws Error(kOutput).
  PassingFolder(const std::filesystem::path& parent, const std::string& prefix);
  /// Removes it with all that is in it, unless it was renamed.
  ~PassingFolder();
  PassingFolder(const PassingFolder&) = delete;
  PassingFolder& operator=(const PassingFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace edgecompress
