#include "pipeline/runner.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <new>

#include "edgecompress/error.h"
#include "eval/size.h"
#include "model/runtime.h"
#include "model/torch_error.h"
#include "passes/registry.h"
#include "pipeline/checks.h"
#include "pipeline/gates.h"
#include "util/file.h"
#include "util/log.h"
#include "util/random.h"
#include "util/text.h"

namespace edgecompress {
namespace {

using Clock = std::chrono::steady_clock;

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

/// Another pass of the same name may have given a file of the same name.
std::string free_name(const std::map<std::string, std::string>& taken, std::size_t index,
                      const std::string& pass, const std::string& name) {
  return taken.count(name) == 0 ? name : file_stem(index, pass) + "/" + name;
}

}  // namespace

Runner::Runner(const Recipe& recipe, const Preparation& preparation, std::filesystem::path folder,
               const Journal& journal, at::Device device, Progress& progress)
    : recipe_(recipe),
      preparation_(preparation),
      folder_(std::move(folder)),
      journal_(journal),
      device_(device),
      progress_(progress),
      measurer_(preparation.model_path, preparation.inputs, preparation.data, recipe.evaluation,
                derive_seed(recipe.seed, "fidelity"), progress),
      current_(preparation.model.clone()),
      current_outputs_{preparation.has_own_labels, /*with_original=*/true},
      best_file_(preparation.model_path) {
  report_.name = recipe.name;
  report_.seed = recipe.seed;
  report_.started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  report_.notes = preparation.notes;
  report_.best_step = "original";
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
  for (std::size_t i = 0; i < recipe_.passes.size(); ++i) {
    if (!run_step(i)) break;
  }
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
    Model model = current_.clone();
    const bool has_new_outputs = gives_new_outputs(step);
    const Comparable outputs = has_new_outputs
                                   ? Comparable{/*with_labels=*/true, /*with_original=*/false}
                                   : current_outputs_;
    const PassResult result = apply(index, model, outputs, record);
    const auto file = folder_ / (file_stem(index, step.pass) + ".pt");
    if (result.changed) {
      model.save(file);
      check_step(current_, model, file, has_new_outputs);
      record.evaluation = measurer_.measure_step(file, model, outputs);
    } else {
      record.state = StepState::kUnchanged;
      record.evaluation = current_evaluation_;
    }
    judge(step, record);
    if (record.state == StepState::kKept) {
      keep(index, std::move(model), outputs, result, file);
      current_evaluation_ = *record.evaluation;
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

PassResult Runner::apply(std::size_t index, Model& model, Comparable outputs, StepRecord& record) {
  const StepSpec& step = recipe_.passes[index];
  const PassNeeds needs = find_pass(step.pass).description.needs_with(step.options);
  if (needs.labels && !outputs.with_labels) {
    throw Error(ExitCode::kPass,
                "the labels are not of this network's classes: the step that was to give it new "
                "outputs for them was not kept",
                "loosen the gate of that step");
  }
  PassContext context{progress_};
  context.seed = derive_seed(recipe_.seed, fmt::format("step {} {}", index, step.pass));
  context.data = &preparation_.data;
  context.device = device_;
  if (outputs.with_labels) context.score = measurer_.score_for_choices();
  const auto scratch = folder_ / (file_stem(index, step.pass) + "_measured.pt");
  context.latency_share = measurer_.latency_share(best_file_, scratch);
  context.size_share = measurer_.size_share(best_file_, scratch);
  context.node_latency = measurer_.node_latency();
  context.scratch = [this](std::int64_t bytes) {
    return std::make_unique<ScratchFile>(folder_, bytes);
  };
  if (needs.training) {
    Json fingerprint = step_fingerprint(recipe_, report_, index, best_file_);
    fingerprint["device"] = device_.str();
    context.checkpoint = journal_.checkpoint(file_stem(index, step.pass), fingerprint);
  }
  context.load_network = [this](const std::string& name) {
    return name == "original" ? preparation_.model.clone()
                              : Model::load(recipe_.locate(name), preparation_.inputs);
  };
  context.read_file = [this](const std::string& path, std::int64_t limit) {
    return read_file(recipe_.locate(path), ExitCode::kData, limit);
  };
  reset_peak_memory();
  const auto start = Clock::now();
  PassResult result = find_pass(step.pass).make(step.options)->run(model, context);
  record.seconds = seconds_since(start);
  record.peak_memory_bytes = peak_memory_bytes();
  record.note = result.note;
  record.counts = result.counts;
  record.details = result.details;
  return result;
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

void Runner::keep(std::size_t index, Model model, Comparable outputs, const PassResult& result,
                  const std::filesystem::path& file) {
  const std::string& pass = recipe_.passes[index].pass;
  for (const auto& [name, bytes] : result.files) {
    pass_files_.emplace(free_name(pass_files_, index, pass, name), bytes);
  }
  current_ = std::move(model);
  current_outputs_ = outputs;
  best_file_ = file;
  report_.best_step = step_name(index, pass);
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
