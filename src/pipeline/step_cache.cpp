#include "pipeline/step_cache.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include "pipeline/fingerprint.h"
#include "util/file.h"
#include "util/hash.h"
#include "util/log.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelFile = "model.pt";

std::string key_of(const Json& fingerprint) { return sha256(fingerprint.dump()); }

/// The pass's files have names with folders; the store's have none.
std::string stored_name(std::size_t number) { return fmt::format("file-{}", number); }

Json describe(const Json& fingerprint, const StepWork& work) {
  Json files = Json::array();
  for (const auto& [name, bytes] : work.result.files) files.push_back(name);
  return {{"fingerprint", fingerprint},
          {"done", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
          {"seconds", work.seconds},
          {"peak_memory_bytes", work.peak_memory_bytes},
          {"changed", work.result.changed},
          {"counts", work.result.counts},
          {"note", work.result.note},
          {"details", work.result.details},
          {"files", std::move(files)}};
}

StepWork work_of(const StoredResult& stored) {
  const Json& json = stored.description;
  StepWork work;
  json.at("done").get_to(work.done);
  json.at("seconds").get_to(work.seconds);
  json.at("peak_memory_bytes").get_to(work.peak_memory_bytes);
  json.at("changed").get_to(work.result.changed);
  json.at("counts").get_to(work.result.counts);
  json.at("note").get_to(work.result.note);
  work.result.details = json.at("details");
  std::size_t number = 0;
  for (const Json& name : json.at("files")) {
    work.result.files[name.get<std::string>()] =
        read_file(stored.folder / stored_name(number++), ExitCode::kOutput,
                  std::numeric_limits<std::int64_t>::max());
  }
  return work;
}

/// How much of two fingerprints is alike, from their most telling parts.
int likeness(const Json& a, const Json& b) {
  int score = 0;
  for (const char* part : {"pass", "step", "inputs", "model", "options"}) {
    score += a.value(part, Json()) == b.value(part, Json()) ? 1 : 0;
  }
  return score;
}

}  // namespace

StepCache::StepCache(ResultStore store) : store_(std::move(store)) {}

std::optional<StepWork> StepCache::find(const Json& fingerprint, const fs::path& model) const {
  if (!store_) return std::nullopt;
  try {
    const auto stored = store_->find(key_of(fingerprint));
    if (!stored || stored->description.at("fingerprint") != fingerprint) {
      tell_nearest(fingerprint);
      return std::nullopt;
    }
    StepWork work = work_of(*stored);
    if (work.result.changed) {
      copy_file_atomic(stored->folder / kModelFile, model, ExitCode::kOutput);
    }
    return work;
  } catch (const std::exception& error) {
    log().warn("cache {}: {}", store_->folder().string(), error.what());
    return std::nullopt;
  }
}

void StepCache::keep(const Json& fingerprint, const StepWork& work, const fs::path& model) const {
  if (!store_) return;
  try {
    const bool is_kept =
        store_->put(key_of(fingerprint), describe(fingerprint, work), [&](const fs::path& folder) {
          if (work.result.changed) {
            copy_file_atomic(model, folder / kModelFile, ExitCode::kOutput);
          }
          std::size_t number = 0;
          for (const auto& [name, bytes] : work.result.files) {
            write_file_atomic(folder / stored_name(number++), bytes);
          }
        });
    if (!is_kept) {
      log().warn("cache {}: the step is larger than the whole cache may be: it is not kept",
                 store_->folder().string());
    }
  } catch (const std::exception& error) {
    log().warn("cache {}: the step is not kept: {}", store_->folder().string(), error.what());
  }
}

void StepCache::tell_nearest(const Json& fingerprint) const {
  const auto likeness_of = [&](const StoredResult& stored) {
    return likeness(stored.description.value("fingerprint", Json::object()), fingerprint);
  };
  const std::vector<StoredResult> all = store_->list();
  const auto nearest = std::max_element(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    return likeness_of(a) < likeness_of(b);
  });
  constexpr int kRelated = 3;
  if (nearest == all.end() || likeness_of(*nearest) < kRelated) return;
  log().info("not the same as the step of {} in the cache: {}",
             nearest->description.value("done", std::string("another run")),
             describe_differences(nearest->description["fingerprint"], fingerprint));
}

}  // namespace edgecompress
