#include "batch/zoo_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;

constexpr const char* kLock = ".batch.lock";
constexpr const char* kJournal = ".journal";
constexpr std::int64_t kLargestReport = std::int64_t{1} << 30;

std::string shard_name(const Shard& shard) {
  return fmt::format("{}-of-{}", shard.index, shard.count);
}

/// Every report of a batch or a shard in the folder.
std::vector<fs::path> reports_in(const fs::path& folder) {
  std::vector<fs::path> reports;
  std::error_code none;
  if (fs::exists(folder / "zoo.json", none)) reports.push_back(folder / "zoo.json");
  for (const auto& entry : fs::directory_iterator(folder / "shards", none)) {
    const std::string name = entry.path().filename().string();
    if (starts_with(name, "zoo-") && ends_with(name, ".json")) reports.push_back(entry.path());
  }
  return reports;
}

}  // namespace

ZooFolder::ZooFolder(fs::path folder, const std::optional<Shard>& shard, Earlier earlier)
    : folder_(fs::absolute(std::move(folder)).lexically_normal()), shard_(shard) {
  if (!folder_.has_filename()) folder_ = folder_.parent_path();
  try {
    fs::create_directories(folder_);
    const bool is_foreign = !fs::is_empty(folder_) && !fs::exists(folder_ / kLock);
    if (is_foreign && earlier != Earlier::kReplaced) {
      throw Error(ExitCode::kOutput, folder_.string() + ": the folder is not empty",
                  "choose another folder, or allow overwriting (--overwrite)");
    }
    locks_.emplace_back(folder_ / kLock, /*is_shared=*/shard.has_value());
    if (shard) {
      locks_.emplace_back(folder_ / fmt::format(".batch-{}.lock", shard_name(*shard)),
                          /*is_shared=*/false);
    }
    if (shard) fs::create_directory(folder_ / "shards");
    const bool is_used = shard ? fs::exists(report("json")) : !reports_in(folder_).empty();
    if (earlier == Earlier::kRefused && is_used) {
      throw Error(ExitCode::kOutput, folder_.string() + ": an earlier batch is in this folder",
                  "go on with it (--resume), or start anew (--overwrite)");
    }
    if (earlier == Earlier::kReplaced && !shard) {
      for (const fs::path& old : reports_in(folder_)) fs::remove(old);
    }
  } catch (const fs::filesystem_error& error) {
    throw write_error(folder_, error.code().value());
  }
}

ZooFolder::Lock::Lock(const fs::path& path, bool is_shared)
    : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)) {
  if (file_ < 0) throw write_error(path, errno);
  if (::flock(file_, (is_shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return;
  const int reason = errno;
  ::close(file_);
  if (reason != EWOULDBLOCK) throw write_error(path, reason);
  throw Error(ExitCode::kOutput,
              path.parent_path().string() + ": another batch is writing into this folder",
              "wait for it, or choose another folder");
}

ZooFolder::Lock::~Lock() { ::close(file_); }

fs::path ZooFolder::log_file(const std::string& name) const {
  return model_folder(name) / "batch.log";
}

void ZooFolder::clear_model(const std::string& name) const {
  const fs::path folder = model_folder(name);
  std::error_code error;
  const fs::file_status status = fs::symlink_status(folder, error);
  if (!fs::exists(status)) return;
  // What a link points at is not ours to clear.
  if (!fs::is_directory(status)) {
    fs::remove(folder, error);
  } else {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.path().filename() != kJournal) fs::remove_all(entry.path(), error);
    }
  }
  if (error) throw write_error(folder, error.value());
}

void ZooFolder::clear_partial(const std::string& name) const {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(model_folder(name), ignored)) {
    const std::string left = entry.path().filename().string();
    if (starts_with(left, "." + name + ".partial-")) fs::remove_all(entry.path(), ignored);
  }
}

bool ZooFolder::has_results_of(const std::string& name) const {
  std::error_code none;
  return fs::is_regular_file(model_folder(name) / "report.json", none) &&
         fs::is_regular_file(model_folder(name) / "model.pt", none);
}

std::map<std::string, ZooRow> ZooFolder::earlier_rows(const fs::path& folder) {
  std::vector<Zoo> zoos;
  for (const fs::path& path : reports_in(folder)) {
    try {
      zoos.push_back(zoo_from_json(
          Json::parse(read_file(path, ExitCode::kOutput, kLargestReport), nullptr, false)));
    } catch (const Error& error) {
      log().warn("{}: {}; it is left out", path.string(), error.what());
    }
  }
  std::stable_sort(zoos.begin(), zoos.end(),
                   [](const Zoo& a, const Zoo& b) { return a.started < b.started; });
  std::map<std::string, ZooRow> rows;
  for (Zoo& zoo : zoos) {
    for (ZooRow& row : zoo.rows) {
      if (row.state != ModelState::kPending) rows[row.name] = std::move(row);
    }
  }
  return rows;
}

fs::path ZooFolder::report(const std::string& extension) const {
  return shard_ ? folder_ / "shards" / fmt::format("zoo-{}.{}", shard_name(*shard_), extension)
                : folder_ / ("zoo." + extension);
}

void ZooFolder::write(const Zoo& zoo) const {
  const std::string json = to_json(zoo).dump(2, ' ', false, Json::error_handler_t::replace);
  write_file_atomic(report("json"), json + "\n");
  write_file_atomic(report("csv"), to_csv(zoo));
  write_file_atomic(report("md"), to_markdown(zoo));
}

}  // namespace edgecompress
