// The batch itself: a process a model, so many at once, and the zoo's report after each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "batch/plan.h"
#include "batch/zoo.h"
#include "batch/zoo_folder.h"

namespace edgecompress {

/// A model whose process runs.
struct RunningModel {
  std::string name;
  double seconds = 0;
  std::int64_t memory_bytes = 0;
  std::string last_line;  ///< that it printed
};

/// Whoever shows a batch. Called by the one thread that controls it.
class BatchWatcher {
 public:
  virtual ~BatchWatcher() = default;
  virtual void model_ended(const ZooRow& /*row*/, std::size_t /*ended*/, std::size_t /*all*/) {}
  /// Several times a second.
  virtual void models_run(const std::vector<RunningModel>& /*models*/, std::size_t /*ended*/,
                          std::size_t /*all*/) {}
};

/// The rows as they stand before any work: a model is done if `earlier` says so under the same
/// settings, its file has the same bytes, and its results are there; else it is pending.
Zoo zoo_before(const BatchPlan& plan, const std::map<std::string, ZooRow>& earlier,
               const ZooFolder& folder);

/// Runs what is pending in `zoo`, and writes the reports into `folder` whenever a model ends. After
/// an interrupt the models that run are told to stop, and their rows say so. Throws Error(kOutput)
/// where the reports can't be written in the end.
void run_pending(const BatchRequest& request, const BatchPlan& plan, const ZooFolder& folder,
                 Zoo& zoo, BatchWatcher& watcher);

/// The rows that batches and shards have left under the plan's settings, to be one report.
Zoo gathered(const BatchPlan& plan, const std::map<std::string, ZooRow>& earlier);

}  // namespace edgecompress
