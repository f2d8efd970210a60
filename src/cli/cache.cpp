// `cache`: what `run` keeps of finished steps. It needs no LibTorch.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/cache_options.h"
#include "cli/command.h"
#include "util/result_store.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kShortKey = 12;
constexpr std::int64_t kDay = 24 * 3600;
constexpr std::int64_t kSecondNs = 1'000'000'000;

std::string folder_of(const CacheOptions& options) {
  if (!options.folder.empty()) return options.folder;
  throw Error(ExitCode::kUsage, "there is no cache: neither HOME nor XDG_CACHE_HOME is set",
              "name its folder with --cache");
}

/// "2 lora", "forecast".
std::string name_of(const Json& description) {
  const Json fingerprint = description.value("fingerprint", Json::object());
  if (fingerprint.empty()) return description.value("what", std::string("unknown"));
  return fmt::format("{} {}", fingerprint.value("step", 0), fingerprint.value("pass", ""));
}

Json to_json(const StoredResult& result) {
  return {{"key", result.key},
          {"what", name_of(result.description)},
          {"done", result.description.value("done", "")},
          {"seconds", result.description.value("seconds", 0.0)},
          {"bytes", result.bytes},
          {"used", result.used_ns / kSecondNs}};
}

std::string list(const ResultStore& store, bool as_json) {
  Json rows = Json::array();
  Table table({"key", "what", "done", "took", "size", "used, days ago"});
  std::int64_t bytes = 0;
  for (const StoredResult& result : store.list()) {
    bytes += result.bytes;
    rows.push_back(to_json(result));
    table.add_row({result.key.substr(0, kShortKey), name_of(result.description),
                   result.description.value("done", ""),
                   human_duration(result.description.value("seconds", 0.0)),
                   human_bytes(result.bytes),
                   fmt::format("{}", (std::time(nullptr) - result.used_ns / kSecondNs) / kDay)});
  }
  if (as_json) {
    return Json{{"folder", store.folder().string()},
                {"bytes", bytes},
                {"most_bytes", store.most_bytes()},
                {"steps", rows}}
        .dump(2);
  }
  return fmt::format("{}{}: {} of at most {}\n", rows.empty() ? "" : table.console() + "\n",
                     store.folder().string(), human_bytes(bytes), human_bytes(store.most_bytes()));
}

struct Removal {
  std::vector<std::string> keys;
  bool all = false;
  std::optional<std::int64_t> unused_days;

  bool names(const StoredResult& result) const {
    if (all) return true;
    if (unused_days) return result.used_ns / kSecondNs < std::time(nullptr) - *unused_days * kDay;
    return std::any_of(keys.begin(), keys.end(),
                       [&](const std::string& key) { return starts_with(result.key, key); });
  }
};

/// A word that names nothing, or several steps, is more likely a mistake than meant.
void check_keys(const std::vector<StoredResult>& results, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) {
    const auto count = std::count_if(results.begin(), results.end(), [&](const auto& result) {
      return starts_with(result.key, key);
    });
    if (count == 1) continue;
    throw Error(ExitCode::kUsage,
                fmt::format("{}: {} steps in the cache have a key like this", key,
                            count == 0 ? "no" : std::to_string(count)),
                "See: edgecompress cache ls");
  }
}

std::string remove(const ResultStore& store, const Removal& removal) {
  const std::vector<StoredResult> results = store.list();
  check_keys(results, removal.keys);
  std::int64_t bytes = 0, count = 0;
  for (const StoredResult& result : results) {
    if (!removal.names(result) || !store.remove(result.key)) continue;
    bytes += result.bytes;
    ++count;
  }
  return fmt::format("{} steps removed, {} freed\n", count, human_bytes(bytes));
}

void add_ls(CLI::App& cache, CommandContext& context) {
  CLI::App* command = cache.add_subcommand("ls", "List the steps that are kept");
  const auto options = add_cache_location(*command);
  add_json_flag(*command, context, "Print JSON");
  command->callback([&context, options] {
    context.result = list(ResultStore(folder_of(*options), options->bytes()), context.is_json);
  });
}

void add_rm(CLI::App& cache, CommandContext& context) {
  CLI::App* command = cache.add_subcommand("rm", "Remove steps");
  const auto options = add_cache_location(*command);
  auto removal = std::make_shared<Removal>();
  command->add_option("keys", removal->keys, "Of the steps, or how they begin")->type_name("KEY");
  command->add_flag("--all", removal->all, "Remove all of them");
  command->add_option("--unused", removal->unused_days, "Remove those not used for so many days")
      ->check(CLI::Range(0, 100000))
      ->type_name("DAYS");
  command->callback([&context, options, removal] {
    const int ways =
        (removal->keys.empty() ? 0 : 1) + (removal->all ? 1 : 0) + (removal->unused_days ? 1 : 0);
    if (ways != 1) {
      throw Error(ExitCode::kUsage, "cache rm: expected keys, or --all, or --unused DAYS",
                  "See: edgecompress cache rm --help");
    }
    context.result = remove(ResultStore(folder_of(*options), options->bytes()), *removal);
  });
}

}  // namespace

void add_cache(CLI::App& app, CommandContext& context) {
  CLI::App* command = add_command(
      app, "cache", "List or remove the finished steps that runs keep",
      "  edgecompress cache ls\n"
      "  edgecompress cache rm --unused 30\n"
      "  edgecompress cache rm --all\n\n"
      "A run takes a step from here where nothing differs that its result hangs on: the\n"
      "model at its start, options, data, seed, this program, LibTorch, the machine.");
  command->require_subcommand(1);
  add_ls(*command, context);
  add_rm(*command, context);
}

}  // namespace edgecompress
