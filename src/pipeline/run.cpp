// `run`: a recipe in, a folder with the smaller model and its report out.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "model/device.h"
#include "passes/catalogue.h"
#include "pipeline/commands.h"
#include "pipeline/forecast.h"
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

constexpr std::int64_t kMostRecipeBytes = std::int64_t{16} << 20;

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
    if (runner.is_interrupted()) {
      hints.push_back("The same command with --resume goes on from there.");
    }
    throw Error(error.code(), error.what(), join(hints, " "));
  }
}

/// Whether what is in `folder` came from the same recipe.
bool holds_results_of(const Recipe& recipe, const fs::path& folder) {
  std::error_code none;
  const fs::path file = folder / kResolvedRecipe;
  if (!fs::is_regular_file(file, none) || fs::file_size(file, none) > kMostRecipeBytes)
    return false;
  return read_file(file, ExitCode::kOutput, kMostRecipeBytes) == recipe.resolved_text();
}

/// What an earlier run left is neither lost nor taken up unasked.
bool resumes(const RunRequest& request, const Recipe& recipe, const fs::path& folder) {
  const bool is_there = Journal::is_in(folder);
  if (is_there && !request.resume && !recipe.output.overwrite) {
    throw Error(ExitCode::kOutput,
                folder.string() + ": a run into this folder was cut short and can go on",
                "go on with it (--resume), or start anew (--overwrite)");
  }
  return request.resume && (is_there || holds_results_of(recipe, folder));
}

std::optional<ResultStore> store_of(const RunRequest& request) {
  if (request.cache.empty()) return std::nullopt;
  return ResultStore(request.cache, request.cache_bytes);
}

Outcome plan_run(const RunRequest& request, const Recipe& recipe, Progress& progress) {
  const Preparation preparation = prepare(recipe, request.op_libraries);
  const std::vector<Forecast> forecasts = forecast_steps(recipe, preparation, progress);
  if (const auto store = store_of(request)) {
    ForecastStore(*store).keep(recipe, fingerprints(recipe, preparation), forecasts);
  }
  Json list = Json::array();
  for (const Forecast& forecast : forecasts) list.push_back(to_json(forecast));
  const Json json = {{"recipe", recipe.resolved}, {"forecast", std::move(list)}};
  return {ExitCode::kDone, describe_plan(recipe, preparation, forecasts),
          json.dump(2, ' ', false, Json::error_handler_t::replace)};
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
  if (request.dry_run) return plan_run(request, recipe, progress);
  const at::Device device = find_device(request.device);
  const fs::path folder = recipe.locate(recipe.output.directory);
  const bool is_resumed = resumes(request, recipe, folder);
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
  journal.begin();
  const std::optional<ResultStore> store = store_of(request);
  const StepCache cache = store ? StepCache(*store) : StepCache();
  Runner runner(recipe, preparation, step_files, journal, cache, device, MeasureScope::kAll,
                progress);
  runner.run();
  if (store) ForecastStore(*store).compare(recipe, runner.report());
  if (runner.failure() && !runner.has_finished_step()) throw_failure(runner, folder);

  write_outputs(recipe, runner, output.path());
  fs::remove_all(step_files, error);
  log_file.close();
  journal.move_into(output.path());
  output.commit();
  if (!runner.is_interrupted()) journal.clear();
  if (runner.failure()) throw_failure(runner, output.final_path());
  return outcome_of(runner, output.final_path());
}

}  // namespace edgecompress
