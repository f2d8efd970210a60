// `run`: a recipe in, a folder with the smaller model and its report out.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <filesystem>

#include "passes/catalogue.h"
#include "pipeline/commands.h"
#include "pipeline/outputs.h"
#include "pipeline/plan.h"
#include "pipeline/preparation.h"
#include "pipeline/runner.h"
#include "recipe/requested_recipe.h"
#include "util/file.h"
#include "util/log.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// The step's own failure, with where to find what was finished before it.
[[noreturn]] void throw_failure(const std::exception_ptr& failure, const fs::path& folder) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    const std::string where = fmt::format(
        "The steps before it are kept: {} holds their model and report.", folder.string());
    throw Error(error.code(), error.what(),
                error.hint().empty() ? where : error.hint() + " " + where);
  }
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
  StagedDirectory output(recipe.locate(recipe.output.directory), recipe.output.overwrite);
  LogFile log_file(output.path() / "run.log");
  const Preparation preparation = prepare(recipe, request.op_libraries);

  const fs::path step_files = output.path() / "steps";
  std::error_code error;
  if (!fs::create_directory(step_files, error)) {
    throw Error(ExitCode::kOutput,
                fmt::format("{} can't be made: {}", step_files.string(), error.message()));
  }
  Runner runner(recipe, preparation, step_files, progress);
  runner.run();
  if (runner.failure() && !runner.has_finished_step()) std::rethrow_exception(runner.failure());

  write_outputs(recipe, runner, output.path());
  fs::remove_all(step_files, error);
  log_file.close();
  output.commit();
  if (runner.failure()) throw_failure(runner.failure(), output.final_path());
  return outcome_of(runner, output.final_path());
}

}  // namespace edgecompress
