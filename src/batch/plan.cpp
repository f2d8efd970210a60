#include "batch/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "edgecompress/error.h"
#include "recipe/recipe.h"
#include "util/hash.h"
#include "util/machine.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;

/// Of the machine's memory that models may take together.
constexpr double kMemoryShare = 0.9;

std::string file_stamp(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  const auto time = fs::last_write_time(path, error);
  return error ? "absent" : fmt::format("{} {}", size, time.time_since_epoch().count());
}

/// Sizes and times of a data set's files: enough to see a change, and it costs no reading.
class DataStamps {
 public:
  const std::string& of(const fs::path& path) {
    const auto known = known_.find(path);
    if (known != known_.end()) return known->second;
    return known_[path] = fs::is_directory(path) ? folder_stamp(path) : file_stamp(path);
  }

 private:
  static std::string folder_stamp(const fs::path& folder) {
    std::vector<std::string> lines;
    const auto options = fs::directory_options::skip_permission_denied;
    for (const auto& entry : fs::recursive_directory_iterator(folder, options)) {
      if (!entry.is_regular_file()) continue;
      lines.push_back(entry.path().lexically_relative(folder).string() + " " +
                      file_stamp(entry.path()));
    }
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    return sha256(text);
  }

  std::map<fs::path, std::string> known_;
};

std::string settings_hash(const BatchRequest& request, const Recipe& recipe, DataStamps& stamps) {
  Json settings = recipe.resolved;
  // Neither the place nor the number of threads changes a result; the model counts by its bytes.
  settings.erase("threads");
  settings.erase("output");
  settings["model"].erase("path");
  Json data = Json::object();
  for (const auto& [name, set] : recipe.data) {
    if (!set.path.empty()) data[name] = stamps.of(recipe.locate(set.path));
  }
  const Json all = {{"settings", std::move(settings)},
                    {"data", std::move(data)},
                    {"device", request.device},
                    {"op_libraries", request.op_libraries},
                    {"version", EDGECOMPRESS_VERSION}};
  return sha256(all.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Recipe recipe_for(const BatchRequest& request, const ListedModel& model,
                  const PassCatalogue& catalogue) {
  RecipeOverrides overrides;
  overrides.model = model.path.string();
  overrides.seed = request.seed;
  overrides.deterministic = request.deterministic;
  overrides.set = request.set;
  overrides.set.insert(overrides.set.end(), model.set.begin(), model.set.end());
  try {
    return load_recipe(request.recipe, catalogue, overrides);
  } catch (const Error& error) {
    if (model.set.empty()) throw;
    throw Error(error.code(), fmt::format("{}, for the model {}", error.what(), model.name),
                error.hint());
  }
}

}  // namespace

BatchPlan plan_batch(const BatchRequest& request, const PassCatalogue& catalogue) {
  if (request.recipe == "-") {
    throw Error(ExitCode::kUsage, "a batch needs its recipe in a file: every model reads it");
  }
  std::vector<ListedModel> models = list_models(request.models, request.output);
  if (request.shard) models = part_of(models, *request.shard);

  BatchPlan plan;
  const std::int64_t threads = request.threads > 0 ? request.threads : usable_cores();
  plan.jobs = request.jobs > 0 ? request.jobs : usable_cores();
  plan.threads_each = std::max<std::int64_t>(1, threads / plan.jobs);
  plan.limits = request.limits;
  plan.limits.memory_bytes = request.memory_bytes.value_or(static_cast<std::int64_t>(
      kMemoryShare * static_cast<double>(usable_memory_bytes()) / static_cast<double>(plan.jobs)));
  DataStamps stamps;
  for (const ListedModel& model : models) {
    const Recipe recipe = recipe_for(request, model, catalogue);
    plan.recipe_name = recipe.name;
    plan.models.push_back(
        {model.name, model.path, settings_hash(request, recipe, stamps), model.set});
  }
  return plan;
}

std::vector<std::string> run_options(const BatchRequest& request) {
  std::vector<std::string> options = {"--device=" + request.device};
  if (request.cache.empty()) {
    options.emplace_back("--no-cache");
  } else {
    options.push_back("--cache=" + request.cache);
    options.push_back(fmt::format("--cache-mib={}", request.cache_mib));
  }
  if (request.deterministic) options.emplace_back("--deterministic");
  if (request.seed) options.push_back(fmt::format("--seed={}", *request.seed));
  for (const std::string& library : request.op_libraries) {
    options.push_back("--op-library=" + fs::absolute(library).string());
  }
  for (const std::string& change : request.set) options.push_back("--set=" + change);
  return options;
}

std::vector<std::string> command_of(const BatchRequest& request, const BatchPlan& plan,
                                    const PlannedModel& model, const fs::path& folder) {
  // What is in the folder was sorted out before: --overwrite is the batch's word for it.
  std::vector<std::string> command = {request.program,
                                      "run",
                                      fs::absolute(request.recipe).string(),
                                      "--model=" + model.path.string(),
                                      "--output=" + folder.string(),
                                      fmt::format("--threads={}", plan.threads_each),
                                      "--overwrite"};
  if (request.is_resumed) command.emplace_back("--resume");
  const std::vector<std::string> options = run_options(request);
  command.insert(command.end(), options.begin(), options.end());
  for (const std::string& change : model.set) command.push_back("--set=" + change);
  return command;
}

}  // namespace edgecompress
