// A batch before any work: which models, with which recipe, each by which command.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "batch/child.h"
#include "batch/model_list.h"
#include "recipe/pass_catalogue.h"

namespace edgecompress {

struct BatchRequest {
  std::vector<std::string> models;  ///< as list_models() takes them
  std::string recipe, output;
  std::vector<std::string> set, op_libraries;
  std::optional<std::int64_t> seed;
  std::string device = "cpu";
  bool deterministic = false;
  std::string cache;  ///< folder of finished steps; empty: none
  std::int64_t cache_mib = 0;
  std::int64_t jobs = 1;     ///< models at once; 0: one a core
  std::int64_t threads = 0;  ///< of all of them together; 0: every core this process may use
  ChildLimits limits;
  /// In place of limits.memory_bytes; none: 0.9 of what the machine has, shared out between the
  /// jobs.
  std::optional<std::int64_t> memory_bytes;
  std::optional<Shard> shard;
  bool is_resumed = false, is_overwriting = false, fails_fast = false;
  std::string program;  ///< the edgecompress binary
};

/// One model with what its result hangs on.
struct PlannedModel {
  std::string name;
  std::filesystem::path path;
  /// SHA-256 of the recipe as it is for this model, of what is known of the data without reading it
  /// (sizes and times of its files), and of our version. Not of threads and output folder.
  std::string settings_sha256;
  std::vector<std::string> set;
};

struct BatchPlan {
  std::string recipe_name;
  std::vector<PlannedModel> models;  ///< those of the shard, by name
  std::int64_t jobs = 1, threads_each = 1;
  ChildLimits limits;
};

/// Throws Error(kUsage) or Error(kRecipe), the latter also for changes that a manifest makes.
BatchPlan plan_batch(const BatchRequest& request, const PassCatalogue& catalogue);

/// What `run` takes as the batch does, spelt alike.
std::vector<std::string> run_options(const BatchRequest& request);

/// `edgecompress run ...` for one model, into `folder`.
std::vector<std::string> command_of(const BatchRequest& request, const BatchPlan& plan,
                                    const PlannedModel& model, const std::filesystem::path& folder);

}  // namespace edgecompress
