// `run`: a recipe in, a folder with the smaller model and its report out.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <filesystem>

#include "model/device.h"
#include "passes/catalogue.h"
#include "pipeline/commands.h"
#include "pipeline/journal.h"
#include "pipeline/outputs.h"
#include "pipeline/plan.h"
#include "pipeline/preparation.h"
#include "pipeline/runner.h"
#include "recipe/requested_recipe.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// The step's own failure, with what is left of the run and how to go on.
[[noreturn]] void throw_failure(const Runner& runner, const fs::path& folder) {
  try {
    std::rethrow_exception(runner.failure());
  } catch (const Error& error) {
    std::vector<std::string> hints;
    if (!error.hint().empty()) hints.push_back(error.hint());
    if (runner.has_finished_step()) {
      hints.push_back(fmt::format("The steps before it are kept: {} holds their model and report.",
                                  folder.string()));
    }
    if (runner.is_interrupted() && Journal::is_in(folder)) {
      hints.push_back("The same command with --resume goes on from where the training was.");
    }
    throw Error(error.code(), error.what(), join(hints, " "));
  }
}

/// The journal of an earlier run is neither lost nor taken up unasked.
bool resumes(const RunRequest& request, const OutputSpec& output, const fs::path& folder) {
  const bool is_there = Journal::is_in(folder);
  if (is_there && !request.resume && !output.overwrite) {
    throw Error(ExitCode::kOutput,
                folder.string() + ": a run into this folder was cut short and can go on",
                "go on with it (--resume), or start anew (--overwrite)");
  }
  return is_there && request.resume;
}

Outcome outcome_of(Runner& runner, const fs::path& folder) {
  const Report& report = runner.report();
  Outcome outcome;
  outcome.code = runner.are_gates_met() ? ExitCode::kDone : ExitCode::kGate;
  outcome.text = to_console(report) + "\nWritten to " + folder.string() + ":\n";
  for (const auto& [what, name] : report.files) outcome.text += "  " + name + "\n";
  outcome.json = to_json(report).dump(2, ' ', false, Json::error_handler_t::replace);
  return outcome;
}

}  // namespace

Outcome run_command(const RunRequest& request, Progress& progress) {
  const Recipe recipe = requested_recipe(request, pass_catalogue());
  if (request.dry_run) {
    const Preparation preparation = prepare(recipe, request.op_libraries);
    return {ExitCode::kDone, describe_plan(recipe, preparation), recipe.resolved.dump(2)};
  }
  const at::Device device = find_device(request.device);
  const fs::path folder = recipe.locate(recipe.output.directory);
  const bool is_resumed = resumes(request, recipe.output, folder);
  StagedDirectory output(folder, recipe.output.overwrite || is_resumed);
  LogFile log_file(output.path() / "run.log");
  if (request.resume && !is_resumed) log().info("nothing to resume in {}", folder.string());
  const Preparation preparation = prepare(recipe, request.op_libraries);

  const fs::path step_files = output.path() / "steps";
  std::error_code error;
  if (!fs::create_directory(step_files, error)) {
    throw Error(ExitCode::kOutput,
                fmt::format("{} can't be made: {}", step_files.string(), error.message()));
  }
  const Journal journal(folder, is_resumed);
  Runner runner(recipe, preparation, step_files, journal, device, progress);
  runner.run();
  if (!runner.is_interrupted()) journal.clear();
  if (runner.failure() && !runner.has_finished_step()) throw_failure(runner, folder);

  write_outputs(recipe, runner, output.path());
  fs::remove_all(step_files, error);
  log_file.close();
  output.commit();
  if (runner.failure()) throw_failure(runner, output.final_path());
  return outcome_of(runner, output.final_path());
}

}  // namespace edgecompress
