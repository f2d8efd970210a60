// A zip archive as PyTorch writes them, read without LibTorch and without trust.
#pragma once

#include <zip.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace edgecompress {

/// Records are found as LibTorch finds them, so that both look at the same: by names without the
/// folder that the first entry is in, in whatever case.
class ZipArchive {
 public:
  /// Reads the table of contents. Throws Error(kModel) if that can't be done, or if it holds a name
  /// twice.
  explicit ZipArchive(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// Whole names, with the folder.
  const std::vector<std::string>& names() const { return names_; }
  std::uint64_t unpacked_bytes() const;

  bool has(std::string_view record) const { return find(record).has_value(); }
  bool has_folder(std::string_view folder) const;
  /// Unpacked; nothing if there is no such record.
  std::optional<std::uint64_t> size_of(std::string_view record) const;
  /// At most `limit` bytes of a record, "" if there is none.
  std::string read(std::string_view record, std::size_t limit) const;

  /// LibTorch compares no checksums. Reads every entry and throws Error(kModel) naming the first
  /// whose bytes are not those that were written.
  void check_crcs() const;

 private:
  struct Discard {
    void operator()(zip_t* archive) const { zip_discard(archive); }
  };
  std::optional<std::size_t> find(std::string_view record) const;

  std::filesystem::path path_;
  std::unique_ptr<zip_t, Discard> archive_;
  std::vector<std::string> names_;
  std::vector<std::uint64_t> sizes_;
  std::unordered_map<std::string, std::size_t> index_;
  std::string folder_;
};

}  // namespace edgecompress
