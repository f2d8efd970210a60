// The output folder of a batch: a folder a model, and the zoo's reports.
#pragma once

#include <filesystem>
#include <list>
#include <map>
#include <optional>
#include <string>

#include "batch/model_list.h"
#include "batch/zoo.h"

namespace edgecompress {

class ZooFolder {
 public:
  enum class Earlier { kRefused, kResumed, kReplaced };

  /// Makes the folder and takes its lock: one batch at a time, or shards of one, each once. The
  /// lock goes with the process, however that ends. `earlier` is what becomes of the results of an
  /// earlier batch. Throws Error(kOutput): also for a folder that holds anything else than a batch,
  /// unless its contents are kReplaced.
  ZooFolder(std::filesystem::path folder, const std::optional<Shard>& shard, Earlier earlier);

  std::filesystem::path model_folder(const std::string& name) const { return folder_ / name; }
  std::filesystem::path log_file(const std::string& name) const;
  /// Removes what earlier runs have left of a model, but not what --resume goes on from: results of
  /// another run must not stand beside a run that failed.
  void clear_model(const std::string& name) const;
  /// Removes what a process that was killed has left unfinished.
  void clear_partial(const std::string& name) const;
  bool has_results_of(const std::string& name) const;

  /// Rows of earlier batches and of every shard, the latest of each name. A report that can't be
  /// read is left out, with a warning in the log.
  static std::map<std::string, ZooRow> earlier_rows(const std::filesystem::path& folder);

  /// zoo.json, zoo.csv and zoo.md; those of a shard are shards/zoo-I-of-N.*. Each appears whole.
  /// Throws Error(kOutput).
  void write(const Zoo& zoo) const;

 private:
  /// A file that is locked as long as this lives.
  class Lock {
   public:
    Lock(const std::filesystem::path& path, bool is_shared);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    int file_;
  };

  std::filesystem::path report(const std::string& extension) const;

  std::filesystem::path folder_;
  std::optional<Shard> shard_;
  std::list<Lock> locks_;
};

}  // namespace edgecompress
