#include "util/result_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <system_error>
#include <tuple>
#include <utility>

#include "util/file.h"
#include "util/hash.h"
#include "util/passing_folder.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// STORE/KEY/result.json and STORE/KEY/NAME; a folder with a dot in front is on its way in or out.
constexpr const char* kDescriptionFile = "result.json";
constexpr std::int64_t kMostDescriptionBytes = std::int64_t{64} << 20;
constexpr std::size_t kKeyLength = 64;
constexpr std::int64_t kSecondNs = 1'000'000'000;
/// A folder on its way that is older than this was left by a process that died.
constexpr std::int64_t kStaleNs = std::int64_t{24 * 3600} * kSecondNs;

bool is_key(const std::string& text) {
  return text.size() == kKeyLength && text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// One name, that stays in its folder.
bool is_file_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == name.npos &&
         name != kDescriptionFile;
}

std::int64_t modified_ns(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return 0;
  return status.st_mtim.tv_sec * kSecondNs + status.st_mtim.tv_nsec;
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw write_error(folder, error.value());
}

/// On its way in or out.
PassingFolder passing_folder(const fs::path& store, const std::string& key) {
  return {store, "." + key + "."};
}

void remove_stale(const fs::path& store) {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(store, none)) {
    const bool is_passing = entry.path().filename().string().front() == '.';
    if (is_passing && modified_ns(entry.path()) < std::time(nullptr) * kSecondNs - kStaleNs) {
      fs::remove_all(entry.path(), none);
    }
  }
}

}  // namespace

ResultStore::ResultStore(fs::path folder, std::int64_t most_bytes)
    : folder_(std::move(folder)), most_bytes_(most_bytes) {}

std::optional<StoredResult> ResultStore::read(const std::string& key) const {
  const fs::path folder = folder_ / key;
  std::error_code error;
  if (!is_key(key) || !fs::is_regular_file(folder / kDescriptionFile, error)) return std::nullopt;
  Json json;
  try {
    json =
        Json::parse(read_file(folder / kDescriptionFile, ExitCode::kOutput, kMostDescriptionBytes));
    StoredResult result;
    result.key = key;
    result.description = json.at("description");
    result.files = json.at("files").get<std::map<std::string, std::string>>();
    result.folder = folder;
    result.used_ns = modified_ns(folder / kDescriptionFile);
    for (const auto& [name, fingerprint] : result.files) {
      if (!is_file_name(name)) return std::nullopt;
      result.bytes += static_cast<std::int64_t>(fs::file_size(folder / name));
    }
    return result;
  } catch (const std::exception&) {
    return std::nullopt;  // damaged, or removed by another process meanwhile
  }
}

std::optional<StoredResult> ResultStore::find(const std::string& key) const {
  auto result = read(key);
  if (!result) return std::nullopt;
  try {
    for (const auto& [name, fingerprint] : result->files) {
      if (sha256_of_file(result->folder / name) != fingerprint) return std::nullopt;
    }
  } catch (const Error&) {
    return std::nullopt;
  }
  std::error_code none;
  fs::last_write_time(result->folder / kDescriptionFile, fs::file_time_type::clock::now(), none);
  return result;
}

bool ResultStore::put(const std::string& key, const Json& description,
                      const std::function<void(const fs::path&)>& fill) const {
  make_folder(folder_);
  remove_stale(folder_);
  const PassingFolder passing = passing_folder(folder_, key);
  fill(passing.path());
  std::int64_t bytes = 0;
  Json fingerprints = Json::object();
  for (const auto& entry : fs::directory_iterator(passing.path())) {
    bytes += static_cast<std::int64_t>(entry.file_size());
    fingerprints[entry.path().filename().string()] = sha256_of_file(entry.path());
  }
  if (bytes > most_bytes_) return false;
  write_file_atomic(passing.path() / kDescriptionFile,
                    Json{{"description", description}, {"files", fingerprints}}.dump(
                        -1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace));
  if (!find(key)) remove(key);  // what is damaged makes way
  std::error_code is_there;     // another process was faster: its result is as good
  fs::rename(passing.path(), folder_ / key, is_there);
  make_room(key);
  return true;
}

std::vector<StoredResult> ResultStore::list() const {
  std::vector<StoredResult> results;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_, none)) {
    if (auto result = read(entry.path().filename().string())) results.push_back(*result);
  }
  std::sort(results.begin(), results.end(), [](const auto& a, const auto& b) {
    return std::tie(b.used_ns, a.key) < std::tie(a.used_ns, b.key);
  });
  return results;
}

bool ResultStore::remove(const std::string& key) const {
  std::error_code error;
  if (!is_key(key) || !fs::exists(folder_ / key, error)) return false;
  const PassingFolder passing = passing_folder(folder_, key);  // nobody finds half of what goes
  fs::rename(folder_ / key, passing.path(), error);
  if (error == std::errc::no_such_file_or_directory) return false;
  if (error) throw write_error(folder_ / key, error.value());
  return true;
}

void ResultStore::make_room(const std::string& newest) const {
  std::int64_t bytes = 0;
  for (const StoredResult& result : list()) {
    bytes += result.bytes;
    if (bytes > most_bytes_ && result.key != newest) remove(result.key);
  }
}

}  // namespace edgecompress
