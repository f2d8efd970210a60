#include "pipeline/runner.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <new>

#include "edgecompress/error.h"
#include "eval/size.h"
#include "eval/thread_dependence.h"
#include "model/runtime.h"
#include "model/torch_error.h"
#include "passes/registry.h"
#include "pipeline/checks.h"
#include "pipeline/fingerprint.h"
#include "pipeline/gates.h"
#include "util/file.h"
#include "util/log.h"
#include "util/random.h"
#include "util/text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// Samples on which operators are tried with one thread and with several.
constexpr std::int64_t kMostTried = 8;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string step_name(std::size_t index, const std::string& pass) {
  return fmt::format("{} {}", index + 1, pass);
}

/// What was thrown, as an Error that says which step it was.
Error step_error(const std::string& where) {
  const std::string prefix = "step " + where + ": ";
  try {
    throw;
  } catch (const Error& error) {
    const bool is_interrupt = error.code() == ExitCode::kInterrupted;
    return Error(error.code(),
                 is_interrupt ? "interrupted in step " + where : prefix + error.what(),
                 error.hint());
  } catch (const std::bad_alloc&) {
    return Error(ExitCode::kPass, prefix + "out of memory", "Try a smaller batch_size.");
  } catch (const std::exception& error) {
    return Error(ExitCode::kPass, prefix + torch_message(error));
  }
}

/// Of the step's files: "2_finetune".
std::string file_stem(std::size_t index, const std::string& pass) {
  return fmt::format("{}_{}", index + 1, pass);
}

std::string summary(const Evaluation& evaluation) {
  std::string text = human_bytes(evaluation.size.file_bytes);
  if (evaluation.validation) {
    text += fmt::format(", {} {:.4g} on {}", evaluation.validation->metric,
                        evaluation.validation->value, evaluation.validation->data);
  } else if (evaluation.fidelity) {
    text += fmt::format(", {:.1f} dB from the original", evaluation.fidelity->sqnr_db);
  }
  if (evaluation.latency) text += fmt::format(", {:.3g} ms", evaluation.latency->median_ms);
  return text;
}

void record_work(const StepWork& work, StepRecord& record) {
  record.note = work.result.note;
  record.counts = work.result.counts;
  record.details = work.result.details;
  record.seconds = work.seconds;
  record.peak_memory_bytes = work.peak_memory_bytes;
  record.cached_since = work.done;
}

}  // namespace

Runner::Runner(const Recipe& recipe, const Preparation& preparation, std::filesystem::path folder,
               const Journal& journal, const StepCache& cache, at::Device device,
               MeasureScope scope, Progress& progress)
    : recipe_(recipe),
      preparation_(preparation),
      folder_(std::move(folder)),
      journal_(journal),
      cache_(cache),
      device_(device),
      progress_(progress),
      measurer_(preparation.model_path, preparation.inputs, preparation.data, recipe.evaluation,
                derive_seed(recipe.seed, "fidelity"), scope, progress),
      current_(preparation.model.clone()),
      current_outputs_{preparation.has_own_labels, /*with_original=*/true} {
  report_.name = recipe.name;
  report_.seed = recipe.seed;
  report_.started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  report_.notes = preparation.notes;
  report_.environment = describe_environment();
  report_.environment.threads = preparation.threads;
  for (const Finding& finding : preparation.model.findings()) {
    if (finding.kind == Finding::Kind::kNotCanonical) {
      report_.not_canonical.push_back(finding.where + ": " + finding.what);
    }
  }
}

void Runner::run() {
  const auto start = Clock::now();
  report_.sha256 = fingerprints(recipe_, preparation_);
  report_.baseline = measurer_.measure_original(preparation_.model, current_outputs_);
  current_evaluation_ = report_.baseline;
  log().info("original: {}", summary(report_.baseline));
  if (measurer_.scope() == MeasureScope::kAll) tell_thread_dependence();
  for (std::size_t i = 0; i < recipe_.passes.size(); ++i) {
    if (!run_step(i)) break;
  }
  leave_out_what_misses_gates();
  report_.best_step = kept_.empty()
                          ? "original"
                          : step_name(kept_.back().index, recipe_.passes[kept_.back().index].pass);
  report_.gates =
      check_gates(recipe_.gates, report_.baseline, report_.final_evaluation(), GateScope::kRun);
  report_.seconds = seconds_since(start);
}

bool Runner::run_step(std::size_t index) {
  const StepSpec& step = recipe_.passes[index];
  StepRecord record;
  record.pass = step.pass;
  record.options = step.options;
  log().info("step {}", step_name(index, step.pass));
  try {
    const Comparable outputs = gives_new_outputs(step)
                                   ? Comparable{/*with_labels=*/true, /*with_original=*/false}
                                   : current_outputs_;
    Kept kept{index, folder_ / (file_stem(index, step.pass) + ".pt"), {}};
    StepWork work = work_of(index, outputs, kept.file);
    record_work(work, record);
    if (!work.result.changed) {
      record.state = StepState::kUnchanged;
      record.evaluation = current_evaluation_;
      judge(step, record);
    } else {
      // From its file, whether it was made by this run or taken from the cache: what follows is the
      // same to the last bit.
      Model model = Model::load(kept.file, preparation_.inputs);
      record.evaluation = measurer_.measure_step(kept.file, model, outputs);
      judge(step, record);
      if (record.state == StepState::kKept) {
        kept.pass_files = std::move(work.result.files);
        kept_.push_back(std::move(kept));
        current_ = std::move(model);
        current_outputs_ = outputs;
        current_evaluation_ = *record.evaluation;
      }
    }
  } catch (...) {
    fail(record, index);
  }
  progress_.end();
  log().info("step {}: {}{}{}", step_name(index, step.pass), to_string(record.state),
             record.evaluation ? ", " + summary(*record.evaluation) : "",
             record.note.empty() ? "" : ": " + record.note);
  const bool is_missed = !are_met(record.gates) && step.gate.on_fail != "rollback";
  is_step_gate_missed_ = is_step_gate_missed_ || is_missed;
  report_.steps.push_back(std::move(record));
  return !failure_ && !(is_missed && step.gate.on_fail == "stop");
}

StepWork Runner::work_of(std::size_t index, Comparable outputs, const fs::path& file) {
  const StepSpec& step = recipe_.passes[index];
  const PassNeeds needs = find_pass(step.pass).description.needs_with(step.options);
  if (needs.labels && !outputs.with_labels) {
    throw Error(ExitCode::kPass,
                "the labels are not of this network's classes: the step that was to give it new "
                "outputs for them was not kept",
                "loosen the gate of that step");
  }
  const Json fingerprint = step_fingerprint(recipe_, preparation_, report_, index, best_file(),
                                            outputs.with_labels, device_.str());
  if (auto kept = cache_.find(fingerprint, file)) {
    log().info("step {}: taken from the cache, where it is since {}", step_name(index, step.pass),
               kept->done);
    return std::move(*kept);
  }
  PassContext context = context_for(index, outputs);
  if (needs.training) {
    context.checkpoint = journal_.checkpoint(file_stem(index, step.pass), fingerprint);
  }
  Model model = current_.clone();
  StepWork work;
  reset_peak_memory();
  const auto start = Clock::now();
  work.result = find_pass(step.pass).make(step.options)->run(model, context);
  work.seconds = seconds_since(start);
  work.peak_memory_bytes = peak_memory_bytes();
  if (work.result.changed) {
    model.save(file);
    check_step(current_, model, file, gives_new_outputs(step));
  }
  cache_.keep(fingerprint, work, file);
  return work;
}

PassContext Runner::context_for(std::size_t index, Comparable outputs) {
  const std::string& pass = recipe_.passes[index].pass;
  PassContext context{progress_};
  context.seed = derive_seed(recipe_.seed, fmt::format("step {} {}", index, pass));
  context.data = &preparation_.data;
  context.device = device_;
  if (outputs.with_labels) context.score = measurer_.score_for_choices();
  const auto scratch = folder_ / (file_stem(index, pass) + "_measured.pt");
  context.latency_share = measurer_.latency_share(best_file(), scratch);
  context.size_share = measurer_.size_share(best_file(), scratch);
  context.node_latency = measurer_.node_latency();
  context.scratch = [this](std::int64_t bytes) {
    return std::make_unique<ScratchFile>(folder_, bytes);
  };
  context.load_network = [this](const std::string& name) {
    return name == "original" ? preparation_.model.clone()
                              : Model::load(recipe_.locate(name), preparation_.inputs);
  };
  context.read_file = [this](const std::string& path, std::int64_t limit) {
    return read_file(recipe_.locate(path), ExitCode::kData, limit);
  };
  return context;
}

void Runner::judge(const StepSpec& step, StepRecord& record) {
  record.gates = check_gates(step.gate, current_evaluation_, *record.evaluation, GateScope::kStep);
  if (are_met(record.gates)) return;
  const std::string failures = describe_failures(record.gates);
  record.note += (record.note.empty() ? "" : "; ") + failures;
  if (record.state == StepState::kKept && step.gate.on_fail != "continue") {
    record.state = StepState::kRolledBack;
  }
}

void Runner::leave_out_what_misses_gates() {
  const auto meets_gates = [&](const Kept& kept) {
    return are_met(check_gates(recipe_.gates, report_.baseline,
                               *report_.steps[kept.index].evaluation, GateScope::kStep));
  };
  const auto best = std::find_if(kept_.rbegin(), kept_.rend(), meets_gates);
  if (best == kept_.rend()) return;  // the last one is as good as any
  for (auto kept = best.base(); kept != kept_.end(); ++kept) {
    StepRecord& record = report_.steps[kept->index];
    record.state = StepState::kRolledBack;
    record.note +=
        fmt::format("{}left out at the end: with it the run's gates are missed on {}",
                    record.note.empty() ? "" : "; ", preparation_.data.for_choices_name());
    log().info("step {}: {}", step_name(kept->index, record.pass), record.note);
  }
  kept_.erase(best.base(), kept_.end());
}

void Runner::tell_thread_dependence() {
  const DataSets& data = preparation_.data;
  const bool computes = data.train || data.calibration;
  if (preparation_.threads == 1 || !computes || recipe_.passes.empty()) return;
  const bool trains =
      std::any_of(recipe_.passes.begin(), recipe_.passes.end(), [](const StepSpec& step) {
        return find_pass(step.pass).description.needs_with(step.options).training;
      });
  const std::int64_t batch = trains ? data.train_batch : data.for_choices_batch();
  const auto operators = thread_dependent_operators(
      preparation_.model, std::min(batch, kMostTried), preparation_.threads, trains);
  if (operators.empty() && !trains) return;
  report_.notes.push_back(fmt::format(
      "with another number of threads than {} the written bytes may be others: of this network's "
      "operators {} other bits with 1 thread{}; --deterministic gives the same at any number",
      preparation_.threads, operators.empty() ? "none gave" : join(operators, ", ") + " gave",
      trains ? " (forward or backward)" : ""));
  log().info("{}", report_.notes.back());
}

const fs::path& Runner::best_file() const {
  return kept_.empty() ? preparation_.model_path : kept_.back().file;
}

const fs::path& Runner::file_after(std::size_t index) const {
  const auto last = std::find_if(kept_.rbegin(), kept_.rend(),
                                 [&](const Kept& kept) { return kept.index <= index; });
  return last == kept_.rend() ? preparation_.model_path : last->file;
}

std::map<std::string, std::string> Runner::pass_files() const {
  std::map<std::string, std::string> files;
  for (const Kept& kept : kept_) {
    for (const auto& [name, bytes] : kept.pass_files) {
      // Another pass of the same name may have given a file of the same name.
      const bool is_taken = files.count(name) > 0;
      const std::string stem = file_stem(kept.index, recipe_.passes[kept.index].pass);
      files.emplace(is_taken ? stem + "/" + name : name, bytes);
    }
  }
  return files;
}

void Runner::fail(StepRecord& record, std::size_t index) {
  const Error error = step_error(step_name(index, record.pass));
  if (error.code() == ExitCode::kOutput) throw error;  // what is finished can't be written either
  const bool is_interrupt = error.code() == ExitCode::kInterrupted;
  record.state = is_interrupt ? StepState::kInterrupted : StepState::kFailed;
  record.note = error.what();
  record.evaluation.reset();
  record.gates.clear();
  failure_ = std::make_exception_ptr(error);
}

bool Runner::are_gates_met() const { return report_.gates_met() && !is_step_gate_missed_; }

bool Runner::is_interrupted() const {
  return !report_.steps.empty() && report_.steps.back().state == StepState::kInterrupted;
}

bool Runner::has_finished_step() const { return report_.steps.size() > (failure_ ? 1U : 0U); }

}  // namespace edgecompress
