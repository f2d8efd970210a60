#include "batch/slurm.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <thread>

#include "batch/child.h"
#include "util/file.h"
#include "util/log.h"
#include "util/progress.h"
#include "util/text.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostShards = 1000;  // Slurm's own default: indices up to 1000
constexpr std::chrono::milliseconds kSlurmInterval{500};

/// A word for the shell, whatever is in it.
std::string shell_word(const std::string& text) {
  std::string word = "'";
  for (const char letter : text)
    word += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return word + "'";
}

/// The plan's models as a manifest: every job sees the same list, whatever is added meanwhile.
std::string manifest_of(const BatchPlan& plan) {
  Json models = Json::array();
  for (const PlannedModel& model : plan.models) {
    models.push_back({{"model", model.path.string()}, {"name", model.name}, {"set", model.set}});
  }
  return Json{{"models", std::move(models)}}.dump(2, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

std::vector<std::string> submission(const BatchRequest& request, const SlurmOptions& slurm,
                                    std::int64_t shards, const fs::path& folder) {
  std::string log = (folder / "slurm-").string();
  for (std::size_t at = 0; (at = log.find('%', at)) != std::string::npos; at += 2)
    log.insert(at, "%");
  std::vector<std::string> command = {"sbatch", "--parsable", "--job-name=edgecompress",
                                      fmt::format("--array=1-{}", shards),
                                      "--output=" + log + "%a.log"};
  if (request.threads > 0) command.push_back(fmt::format("--cpus-per-task={}", request.threads));
  if (!slurm.is_detached) command.emplace_back("--wait");
  command.insert(command.end(), slurm.options.begin(), slurm.options.end());
  command.push_back((folder / "job.sh").string());
  return command;
}

/// "1234" of "1234" or "1234;cluster", what `sbatch --parsable` prints; else empty.
std::string job_number(const std::string& line) {
  const std::string number = line.substr(0, line.find(';'));
  const bool is_number =
      !number.empty() && number.find_first_not_of("0123456789") == std::string::npos;
  return is_number ? number : "";
}

void cancel(const std::string& job, const fs::path& said) {
  try {
    Child scancel({"scancel", job}, said, {});
    while (!scancel.look()) std::this_thread::sleep_for(kSlurmInterval);
  } catch (const Error& error) {
    log().warn("the jobs can't be cancelled: {}", error.what());
  }
}

/// Tells the watcher of models that shards have told of since the last time.
class ShardWatch {
 public:
  ShardWatch(const BatchPlan& plan, const fs::path& output, BatchWatcher& watcher)
      : plan_(plan), output_(output), watcher_(watcher) {
    for (const PlannedModel& model : plan.models) awaited_.insert(model.name);
  }

  void look() {
    for (const auto& [name, row] : ZooFolder::earlier_rows(output_)) {
      if (awaited_.erase(name) == 0) continue;
      watcher_.model_ended(row, plan_.models.size() - awaited_.size(), plan_.models.size());
    }
  }

 private:
  const BatchPlan& plan_;
  fs::path output_;
  BatchWatcher& watcher_;
  std::set<std::string> awaited_;
};

}  // namespace

std::string job_script(const BatchRequest& request, const fs::path& models, std::int64_t shards) {
  std::vector<std::string> command = {
      request.program, "batch", models.string(),
      "--recipe=" + fs::absolute(request.recipe).string(),
      "--output=" + fs::absolute(request.output).string(), fmt::format("--jobs={}", request.jobs),
      fmt::format("--threads={}", request.threads),
      fmt::format("--time-limit={}s", request.limits.seconds),
      fmt::format("--cpu-limit={}s", request.limits.cpu_seconds),
      fmt::format("--grace={}s", request.limits.grace_seconds),
      // One that Slurm starts again goes on where it was.
      "--resume"};
  if (request.memory_bytes) command.push_back(fmt::format("--memory={}", *request.memory_bytes));
  if (request.fails_fast) command.emplace_back("--fail-fast");
  const std::vector<std::string> options = run_options(request);
  command.insert(command.end(), options.begin(), options.end());
  std::string text = "#!/bin/sh\n# One shard of a batch, as a job of a Slurm array.\nexec";
  for (const std::string& word : command) text += " \\\n  " + shell_word(word);
  return text + fmt::format(" \\\n  --shard=\"$SLURM_ARRAY_TASK_ID\"/{}\n", shards);
}

std::string run_on_slurm(const BatchRequest& request, const BatchPlan& plan,
                         const SlurmOptions& slurm, BatchWatcher& watcher) {
  const auto models = static_cast<std::int64_t>(plan.models.size());
  const std::int64_t shards = std::min(slurm.shards > 0 ? slurm.shards : kMostShards, models);
  const fs::path folder = fs::absolute(request.output).lexically_normal() / "shards";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw write_error(folder, error.value());
  write_file_atomic(folder / "models.json", manifest_of(plan));
  write_file_atomic(folder / "job.sh", job_script(request, folder / "models.json", shards));

  std::unique_ptr<Child> sbatch;
  try {
    sbatch = std::make_unique<Child>(submission(request, slurm, shards, folder),
                                     folder / "sbatch.log", ChildLimits{});
  } catch (const Error& failure) {
    if (failure.code() != ExitCode::kInternal) throw;
    throw Error(ExitCode::kUsage, failure.what(),
                "--slurm needs Slurm's commands; leave it out to run here");
  }
  ShardWatch watch(plan, request.output, watcher);
  std::string job;
  bool is_cancelled = false;
  while (!sbatch->look()) {
    if (job.empty()) {
      job = job_number(sbatch->last_line());
      if (!job.empty()) log().info("Slurm job {}: {} models in {} shards", job, models, shards);
    }
    if (interrupt_requested() && !is_cancelled && !job.empty()) {
      is_cancelled = true;
      cancel(job, folder / "scancel.log");
    }
    watch.look();
    std::this_thread::sleep_for(kSlurmInterval);
  }
  if (job.empty()) job = job_number(sbatch->last_line());
  if (job.empty()) {
    throw Error(ExitCode::kUsage, "sbatch took no job: " + sbatch->last_line(),
                "see " + (folder / "sbatch.log").string());
  }
  watch.look();
  return job;
}

}  // namespace edgecompress
