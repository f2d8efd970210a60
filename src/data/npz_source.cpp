// Source "npz": a NumPy archive. Members that are stored are read sample by sample, compressed ones
// are unpacked to memory once.
#include <fmt/format.h>
#include <zip.h>

#include <mutex>

#include "data/errors.h"
#include "data/npy.h"
#include "data/source.h"
#include "util/text.h"

namespace edgecompress {
namespace {

/// Deflate can't do better than 1032 : 1.
constexpr std::int64_t kLargestRatio = 1032;
/// What unpacks to more than kLargeMember at more than kSuspiciousRatio is taken for a zip bomb.
constexpr std::int64_t kLargeMember = 256 << 20;
constexpr std::int64_t kSuspiciousRatio = 200;

struct ZipCloser {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using ZipFile = std::unique_ptr<zip_file_t, ZipCloser>;

/// libzip is not thread-safe: whoever reads holds `mutex`.
struct Archive {
  std::filesystem::path path;
  std::unique_ptr<zip_t, ZipCloser> zip;
  std::mutex mutex;
};

std::shared_ptr<Archive> open_archive(const std::filesystem::path& path) {
  auto archive = std::make_shared<Archive>();
  archive->path = path;
  int code = 0;
  archive->zip.reset(zip_open(path.c_str(), ZIP_RDONLY, &code));
  if (archive->zip) return archive;
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string why = zip_error_strerror(&error);
  zip_error_fini(&error);
  data_error(path.string(), "can't be read as an npz archive: " + why,
             ends_with(path.string(), ".npy") ? R"(a single array is "source": "npy")" : "");
}

struct Member {
  std::string key;  ///< as numpy.load names it: without ".npy"
  zip_uint64_t index;
};

std::vector<Member> members(const Archive& archive) {
  std::vector<Member> found;
  const auto count = zip_get_num_entries(archive.zip.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* name = zip_get_name(archive.zip.get(), i, ZIP_FL_ENC_GUESS);
    if (name == nullptr) continue;
    const std::string key = name;
    found.push_back({ends_with(key, ".npy") ? key.substr(0, key.size() - 4) : key,
                     static_cast<zip_uint64_t>(i)});
  }
  return found;
}

ZipFile open_member(const Archive& archive, zip_uint64_t index, const std::string& name) {
  ZipFile file(zip_fopen_index(archive.zip.get(), index, 0));
  if (!file) data_error(name, zip_strerror(archive.zip.get()));
  return file;
}

void read_fully(zip_file_t* file, char* to, std::int64_t count, const std::string& name) {
  while (count > 0) {
    const auto got = zip_fread(file, to, count);
    if (got < 0) data_error(name, zip_file_strerror(file));
    if (got == 0)
      data_error(name, "ends before its declared size", "the archive is damaged; write it again");
    to += got;
    count -= got;
  }
}

/// A member that was stored as it is: any place of it can be read.
class StoredMember : public Bytes {
 public:
  StoredMember(std::shared_ptr<Archive> archive, zip_uint64_t index, std::int64_t size,
               std::string name)
      : archive_(std::move(archive)),
        size_(size),
        name_(std::move(name)),
        file_(open_member(*archive_, index, name_)) {}
  std::int64_t size() const override { return size_; }
  std::string name() const override { return name_; }

 protected:
  void read_within(std::int64_t offset, char* to, std::int64_t count) const override {
    std::lock_guard<std::mutex> lock(archive_->mutex);
    if (zip_fseek(file_.get(), offset, SEEK_SET) != 0)
      data_error(name_, zip_file_strerror(file_.get()));
    read_fully(file_.get(), to, count, name_);
  }

 private:
  std::shared_ptr<Archive> archive_;
  std::int64_t size_;
  std::string name_;
  ZipFile file_;
};

std::shared_ptr<const Bytes> unpack(const Archive& archive, zip_uint64_t index, std::int64_t size,
                                    std::int64_t packed, const std::string& name) {
  if (size / kLargestRatio > packed)
    data_error(name, fmt::format("claims to unpack from {} to {}, which no compression does",
                                 human_bytes(packed), human_bytes(size)));
  if (size > kLargeMember && size / kSuspiciousRatio > packed)
    data_error(name,
               fmt::format("unpacks from {} to {}: taken for a zip bomb", human_bytes(packed),
                           human_bytes(size)),
               "write the archive without compression: numpy.savez");
  check_fits_memory(size, name);
  const auto file = open_member(archive, index, name);
  std::vector<char> bytes(size);
  read_fully(file.get(), bytes.data(), size, name);
  char beyond = 0;  // Reaching the end checks the checksum.
  if (zip_fread(file.get(), &beyond, 1) != 0)
    data_error(name, "is damaged: its checksum or its size is wrong", "write the archive again");
  return memory_bytes(std::move(bytes), name);
}

NpyArray open_array(const std::shared_ptr<Archive>& archive, const Member& member) {
  const auto name = fmt::format("{}: array '{}'", archive->path.string(), member.key);
  zip_stat_t status;
  constexpr auto kNeeded = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  if (zip_stat_index(archive->zip.get(), member.index, 0, &status) != 0 ||
      (status.valid & kNeeded) != kNeeded)
    data_error(name, "has no complete entry in the archive");
  const auto file_bytes = std::filesystem::file_size(archive->path);
  if (status.comp_size > file_bytes || status.size > INT64_MAX / 2)
    data_error(name,
               fmt::format("claims {} bytes in an archive of {}", status.comp_size, file_bytes));
  const auto size = static_cast<std::int64_t>(status.size);
  if (status.comp_method != ZIP_CM_STORE)
    return NpyArray(
        unpack(*archive, member.index, size, static_cast<std::int64_t>(status.comp_size), name));
  if (status.size != status.comp_size) data_error(name, "is stored, but its two sizes differ");
  return NpyArray(std::make_shared<StoredMember>(archive, member.index, size, name));
}

std::string keys_text(const std::vector<Member>& members) {
  std::vector<std::string> keys;
  for (const auto& member : members) keys.push_back(member.key);
  return join(keys, ", ");
}

NpyArray open_key(const std::shared_ptr<Archive>& archive, const std::vector<Member>& members,
                  const std::string& key) {
  for (const auto& member : members)
    if (member.key == key) return open_array(archive, member);
  data_error(archive->path.string(),
             fmt::format("has no array '{}', it has {}", key, keys_text(members)));
}

std::shared_ptr<const Dataset> open_npz(const SourceRequest& request) {
  const auto archive = open_archive(request.path);
  const auto all = members(*archive);
  auto keys = request.inputs;
  if (keys.empty()) {
    for (const auto& member : all)
      if (member.key != request.target) keys.push_back(member.key);
    if (keys.size() != 1)
      data_error(request.path.string(),
                 fmt::format("which array is the input? It has {}", keys_text(all)),
                 R"(name it: "inputs": ["images"])");
  }
  std::vector<NpyArray> inputs;
  for (const auto& key : keys) inputs.push_back(open_key(archive, all, key));
  if (request.target.empty()) return npy_dataset(std::move(inputs), nullptr, {request.path});
  const auto target = open_key(archive, all, request.target);
  return npy_dataset(std::move(inputs), &target, {request.path});
}

}  // namespace

Source npz_source() {
  return {"npz",
          "a NumPy archive (numpy.savez); inputs and target name its arrays",
          /*needs_path=*/true,
          {},
          open_npz};
}

}  // namespace edgecompress
