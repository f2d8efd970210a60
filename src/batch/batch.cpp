#include "batch/batch.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <deque>
#include <list>
#include <memory>
#include <thread>

#include "batch/verdict.h"
#include "util/hash.h"
#include "util/log.h"
#include "util/progress.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// How often processes are looked at: often enough that memory can't grow far past its limit.
constexpr std::chrono::milliseconds kLookInterval{20};

bool is_finished(const ZooRow& row) {
  return row.state == ModelState::kDone || row.state == ModelState::kGateMissed;
}

/// The rows of a plan, not yet run.
Zoo pending_zoo(const BatchPlan& plan) {
  Zoo zoo;
  zoo.recipe = plan.recipe_name;
  zoo.started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  zoo.jobs = plan.jobs;
  zoo.threads = plan.threads_each;
  for (const PlannedModel& model : plan.models) {
    ZooRow row;
    row.name = model.name;
    row.model = model.path.string();
    row.settings_sha256 = model.settings_sha256;
    row.reason = "not run";
    zoo.rows.push_back(std::move(row));
  }
  return zoo;
}

bool has_bytes(const fs::path& model, const std::string& hash) {
  std::error_code none;
  return fs::is_regular_file(model, none) && sha256_of_file(model) == hash;
}

/// The processes of a batch.
class Controller {
 public:
  Controller(const BatchRequest& request, const BatchPlan& plan, const ZooFolder& folder, Zoo& zoo,
             BatchWatcher& watcher)
      : request_(request), plan_(plan), folder_(folder), zoo_(zoo), watcher_(watcher) {
    for (std::size_t i = 0; i < zoo.rows.size(); ++i) {
      if (zoo.rows[i].state == ModelState::kPending) waiting_.push_back(i);
    }
    ended_ = zoo.rows.size() - waiting_.size();
  }

  void run() {
    save(/*is_last=*/waiting_.empty());
    while (!running_.empty() || (!waiting_.empty() && !is_stopped())) {
      if (interrupt_requested()) interrupt();
      start_some();
      look();
      std::this_thread::sleep_for(kLookInterval);
    }
    for (const std::size_t row : waiting_) zoo_.rows[row].reason = why_not_run_;
    save(/*is_last=*/true);
  }

 private:
  struct Running {
    std::size_t row;
    std::unique_ptr<Child> child;
  };

  bool is_stopped() const { return !why_not_run_.empty(); }

  void interrupt() {
    why_not_run_ = "not run: the batch was interrupted before";
    for (const Running& running : running_) running.child->interrupt();
  }

  void start_some() {
    while (!is_stopped() && !waiting_.empty() &&
           running_.size() < static_cast<std::size_t>(plan_.jobs)) {
      const std::size_t row = waiting_.front();
      waiting_.pop_front();
      start(row);
    }
  }

  void start(std::size_t index) {
    const PlannedModel& model = plan_.models[index];
    try {
      folder_.clear_model(model.name);
      running_.push_back(
          {index, std::make_unique<Child>(
                      command_of(request_, plan_, model, folder_.model_folder(model.name)),
                      folder_.log_file(model.name), plan_.limits)});
    } catch (const Error& error) {
      zoo_.rows[index].state = ModelState::kFailed;
      zoo_.rows[index].reason = error.what();
      end(index);
    }
  }

  void look() {
    std::vector<RunningModel> shown;
    for (auto running = running_.begin(); running != running_.end();) {
      const auto& ended = running->child->look();
      const std::size_t index = running->row;
      if (!ended) {
        const Child& child = *running->child;
        shown.push_back(
            {zoo_.rows[index].name, child.seconds(), child.memory_bytes(), child.last_line()});
        ++running;
        continue;
      }
      judge_end(*ended, plan_.limits, folder_.model_folder(zoo_.rows[index].name),
                zoo_.rows[index]);
      folder_.clear_partial(zoo_.rows[index].name);
      running = running_.erase(running);
      end(index);
    }
    watcher_.models_run(shown, ended_, zoo_.rows.size());
  }

  void end(std::size_t index) {
    const ZooRow& row = zoo_.rows[index];
    ++ended_;
    watcher_.model_ended(row, ended_, zoo_.rows.size());
    if (request_.fails_fast && !is_finished(row) && !is_stopped()) {
      why_not_run_ = fmt::format("not run: --fail-fast, after {}", row.name);
    }
    save(/*is_last=*/false);
  }

  /// Between models a full disk is no reason to give up on the others.
  void save(bool is_last) {
    zoo_.seconds = std::chrono::duration<double>(Clock::now() - started_).count();
    try {
      folder_.write(zoo_);
    } catch (const Error& error) {
      if (is_last) throw;
      log().warn("{}", error.what());
    }
  }

  const BatchRequest& request_;
  const BatchPlan& plan_;
  const ZooFolder& folder_;
  Zoo& zoo_;
  BatchWatcher& watcher_;
  Clock::time_point started_ = Clock::now();
  std::deque<std::size_t> waiting_;
  std::list<Running> running_;
  std::size_t ended_ = 0;
  std::string why_not_run_;
};

}  // namespace

Zoo zoo_before(const BatchPlan& plan, const std::map<std::string, ZooRow>& earlier,
               const ZooFolder& folder) {
  Zoo zoo = pending_zoo(plan);
  for (std::size_t i = 0; i < zoo.rows.size(); ++i) {
    ZooRow& row = zoo.rows[i];
    const auto known = earlier.find(row.name);
    if (known != earlier.end() && is_finished(known->second) &&
        known->second.settings_sha256 == row.settings_sha256 && folder.has_results_of(row.name) &&
        has_bytes(plan.models[i].path, known->second.model_sha256)) {
      row = known->second;
    }
  }
  return zoo;
}

void run_pending(const BatchRequest& request, const BatchPlan& plan, const ZooFolder& folder,
                 Zoo& zoo, BatchWatcher& watcher) {
  Controller(request, plan, folder, zoo, watcher).run();
}

Zoo gathered(const BatchPlan& plan, const std::map<std::string, ZooRow>& earlier) {
  Zoo zoo = pending_zoo(plan);
  for (ZooRow& row : zoo.rows) {
    const auto known = earlier.find(row.name);
    if (known == earlier.end()) {
      row.reason = "no shard has told of it";
    } else if (known->second.settings_sha256 != row.settings_sha256) {
      row.reason = "what there is of it is of another recipe, or of other data";
    } else {
      row = known->second;
    }
  }
  return zoo;
}

}  // namespace edgecompress
