#include "model/zip_archive.h"

#include <algorithm>
#include <cctype>
#include <numeric>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

constexpr zip_int64_t kMostEntries = 1'000'000;
constexpr std::size_t kPiece = std::size_t{1} << 18;

struct CloseEntry {
  void operator()(zip_file_t* entry) const { zip_fclose(entry); }
};
using Entry = std::unique_ptr<zip_file_t, CloseEntry>;

/// LibTorch finds records without telling upper from lower case.
std::string case_folded(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

[[noreturn]] void fail_damaged(const std::filesystem::path& path, const std::string& what) {
  throw Error(ExitCode::kModel, path.string() + ": " + what,
              "copy or download the file again, and compare its size");
}

}  // namespace

ZipArchive::ZipArchive(const std::filesystem::path& path) : path_(path) {
  int code = 0;
  archive_.reset(zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (!archive_) {
    fail_damaged(path,
                 "a zip archive that is cut off or damaged: its table of contents can't be read");
  }
  const auto count = zip_get_num_entries(archive_.get(), 0);
  if (count > kMostEntries) {
    fail_damaged(path, "an archive of " + std::to_string(count) + " entries");
  }
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    if (zip_stat_index(archive_.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW, &stat) != 0) {
      fail_damaged(path, "a damaged zip archive: entry " + std::to_string(i) + " can't be read");
    }
    names_.emplace_back(stat.name);
    sizes_.push_back(stat.size);
    if (!index_.emplace(case_folded(stat.name), names_.size() - 1).second) {
      fail_damaged(path, "an archive that holds " + names_.back() + " twice");
    }
  }
  if (!names_.empty()) folder_ = names_.front().substr(0, names_.front().find('/'));
}

std::uint64_t ZipArchive::unpacked_bytes() const {
  return std::accumulate(sizes_.begin(), sizes_.end(), std::uint64_t{0},
                         [](std::uint64_t sum, std::uint64_t size) {
                           return size > UINT64_MAX - sum ? UINT64_MAX : sum + size;
                         });
}

bool ZipArchive::has_folder(std::string_view folder) const {
  const std::string inside = "/" + std::string(folder) + "/";
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) {
    return name.find(inside) != std::string::npos;
  });
}

std::optional<std::uint64_t> ZipArchive::size_of(std::string_view record) const {
  const auto index = find(record);
  if (!index) return std::nullopt;
  return sizes_[*index];
}

std::string ZipArchive::read(std::string_view record, std::size_t limit) const {
  const auto index = find(record);
  if (!index) return {};
  const Entry entry(zip_fopen_index(archive_.get(), *index, 0));
  if (!entry) return {};
  std::string bytes(std::min<std::uint64_t>(limit, sizes_[*index]), '\0');
  const auto length = zip_fread(entry.get(), bytes.data(), bytes.size());
  bytes.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  return bytes;
}

void ZipArchive::check_crcs() const {
  std::vector<char> piece(kPiece);
  for (std::size_t i = 0; i < names_.size(); ++i) {
    const Entry entry(zip_fopen_index(archive_.get(), i, 0));
    zip_int64_t length = entry ? 1 : -1;
    // libzip compares the checksum when it has read the last byte.
    while (length > 0) length = zip_fread(entry.get(), piece.data(), piece.size());
    if (length < 0) fail_damaged(path_, "the file is damaged: " + names_[i]);
  }
}

std::optional<std::size_t> ZipArchive::find(std::string_view record) const {
  const auto found = index_.find(case_folded(folder_ + "/" + std::string(record)));
  if (found == index_.end()) return std::nullopt;
  return found->second;
}

}  // namespace edgecompress
