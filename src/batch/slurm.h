// A batch on a Slurm cluster: an array of jobs over the shards of the batch, nothing of our own
// that schedules. Needs `sbatch` and `scancel` on PATH, and an output folder that all nodes see.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "batch/batch.h"
#include "batch/plan.h"

namespace edgecompress {

struct SlurmOptions {
  std::int64_t shards = 0;           ///< 0: one a model, at most 1000
  std::vector<std::string> options;  ///< for sbatch, as "--partition=edge"
  bool is_detached = false;          ///< do not wait for the jobs
};

/// Writes shards/models.json, the list of models as it is now, and shards/job.sh, and submits that.
/// Unless detached, waits until every job has ended, telling the watcher of each model that ends;
/// an interrupt cancels the jobs. Returns the number that Slurm gave the array. Throws
/// Error(kUsage) where sbatch is not there or refuses.
std::string run_on_slurm(const BatchRequest& request, const BatchPlan& plan,
                         const SlurmOptions& slurm, BatchWatcher& watcher);

/// What one job of the array runs.
std::string job_script(const BatchRequest& request, const std::filesystem::path& models,
                       std::int64_t shards);

}  // namespace edgecompress
