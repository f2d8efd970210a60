// `compare`: reports of runs beside each other, without LibTorch; or models, with it.
#include <algorithm>
#include <fstream>

#include "cli/command.h"
#include "cli/engine.h"
#include "recipe/json_text.h"
#include "report/comparison.h"
#include "report/zoo_comparison.h"
#include "util/file.h"
#include "util/text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestReport = std::int64_t{256} << 20;

struct CompareRequest {
  std::vector<std::string> paths;
  Thresholds thresholds;
  bool is_markdown = false;
  BenchmarkRequest benchmark;  // of models
  std::optional<std::string> data;
};

/// The report of a run's or a batch's folder, or the file itself.
fs::path report_file(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  const fs::path zoo = fs::path(path) / "zoo.json";
  return fs::exists(zoo, ignored) ? zoo : fs::path(path) / "report.json";
}

bool is_model(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return file.get() == 'P' && file.get() == 'K';
}

Json read_report(const fs::path& file) {
  const std::string text = read_file(file, ExitCode::kData, kLargestReport);
  try {
    return parse_json(text);
  } catch (const Error& error) {
    throw Error(ExitCode::kData, file.string() + ": " + error.what(),
                "give a report.json that `edgecompress run` wrote, or the folder that holds it");
  }
}

bool is_zoo(const Json& report) { return report.is_object() && report.contains("models"); }

/// Each model as a run without steps, all timed in turn.
std::vector<ComparedRun> measure_models(const CompareRequest& request,
                                        const EdgecompressCommands& engine,
                                        const ProgressListener& listener) {
  const Json timed = Json::parse(engine.benchmark(request.benchmark, listener).json);
  std::vector<ComparedRun> runs;
  for (const Json& entry : timed.at("models")) {
    ComparedRun run;
    entry.at("model").get_to(run.name);
    run.environment = environment_from_json(timed.at("environment"));
    run.final = evaluation_from_json(entry.at("evaluation"));
    InspectRequest inspected;
    inspected.model = run.name;
    inspected.inputs = request.benchmark.inputs;
    inspected.op_libraries = request.benchmark.op_libraries;
    run.final.macs = Json::parse(engine.inspect(inspected, listener).json).at("macs");
    if (request.data) {
      EvaluateRequest scored;
      scored.model = run.name;
      scored.data = *request.data;
      scored.reference = request.paths.front();
      scored.op_libraries = request.benchmark.op_libraries;
      const Evaluation found =
          evaluation_from_json(Json::parse(engine.evaluate(scored, listener).json));
      run.final.test = found.test;
      run.final.fidelity = found.fidelity;
    }
    runs.push_back(std::move(run));
  }
  return runs;
}

std::vector<ComparedRun> compared_models(const CommandContext& context, CompareRequest request) {
  if (request.benchmark.inputs.empty()) {
    throw Error(ExitCode::kUsage, "models are run to be compared, and their inputs are unknown",
                "give --input, for example --input 1x3x224x224");
  }
  request.benchmark.models = request.paths;
  std::vector<ComparedRun> runs;
  with_engine(context, [&](const EdgecompressCommands& engine, const ProgressListener& listener) {
    runs = measure_models(request, engine, listener);
    return Outcome();
  });
  return runs;
}

template <class Compared>
Outcome outcome_of(const Compared& comparison, bool is_good, bool is_markdown) {
  Outcome outcome;
  outcome.code = is_good ? ExitCode::kDone : ExitCode::kGate;
  outcome.text = is_markdown ? to_markdown(comparison) : to_console(comparison);
  outcome.json = to_json(comparison).dump(2, ' ', false, Json::error_handler_t::replace);
  return outcome;
}

Outcome compare_runs(const std::vector<ComparedRun>& runs, const CompareRequest& request) {
  const Comparison comparison = compare(runs, request.thresholds);
  return outcome_of(comparison, comparison.are_thresholds_met(), request.is_markdown);
}

Outcome compare_reports(const CompareRequest& request) {
  std::vector<ComparedRun> runs;
  std::vector<ComparedZoo> zoos;
  for (const std::string& path : request.paths) {
    const fs::path file = report_file(path);
    const Json report = read_report(file);
    if (is_zoo(report)) {
      zoos.push_back(compared_zoo(report, path, [&](const std::string& model) {
        return read_report(file.parent_path() / model / "report.json");
      }));
    } else {
      runs.push_back(compared_run(report, path));
    }
  }
  if (zoos.empty()) return compare_runs(runs, request);
  if (!runs.empty()) {
    throw Error(ExitCode::kUsage, "found reports of runs and of batches, expected one kind");
  }
  const ZooComparison comparison = compare(zoos, request.thresholds);
  return outcome_of(comparison, comparison.regressions.empty(), request.is_markdown);
}

Outcome compare_anything(const CommandContext& context, const CompareRequest& request) {
  const auto models = std::count_if(request.paths.begin(), request.paths.end(), is_model);
  if (models == 0) return compare_reports(request);
  if (models < static_cast<std::ptrdiff_t>(request.paths.size())) {
    throw Error(ExitCode::kUsage, "found models and reports, expected one kind of them");
  }
  return compare_runs(compared_models(context, request), request);
}

void add_thresholds(CLI::App& command, Thresholds& thresholds) {
  const auto add = [&](const char* name, std::optional<double>& bound, const char* what) {
    command.add_option(name, bound, what)->check(CLI::NonNegativeNumber);
  };
  add("--max-accuracy-drop", thresholds.max_accuracy_drop,
      "Most that accuracy may fall, in the metric's own unit (0.01: one point of top1)");
  add("--max-size-growth", thresholds.max_size_growth,
      "Share that the zipped file may grow by (0.05: 5 %)");
  add("--max-macs-growth", thresholds.max_macs_growth, "Share that the MACs may grow by");
  add("--max-slowdown", thresholds.max_slowdown,
      "Share that the latency may grow by; judged by speed-ups over the same original, where both "
      "runs have them");
}

}  // namespace

void add_compare(CLI::App& app, CommandContext& context) {
  auto request = std::make_shared<CompareRequest>();
  CLI::App* command = add_command(
      app, "compare", "Put reports of runs or batches, or models, beside each other",
      "  edgecompress compare before/report.json after/report.json\n"
      "  edgecompress compare main-out out --max-accuracy-drop 0.01 --max-size-growth 0.05\n"
      "  edgecompress compare net.pt small/model.pt --input 1x3x224x224 --data recipe.json#test\n\n"
      "Exit codes: 0 every threshold met, 2 usage, 4 model, 5 report or data, 7 a threshold not "
      "met.");
  command
      ->add_option(
          "paths", request->paths,
          "report.json or zoo.json files, folders that hold them, or TorchScript files; what "
          "changed is told against the first")
      ->required()
      ->expected(2, 64)
      ->type_name("A B");
  add_thresholds(*command, request->thresholds);
  auto* json = add_json_flag(*command, context, "Print JSON");
  command
      ->add_flag("--markdown", request->is_markdown, "Print Markdown, for a pull request's summary")
      ->excludes(json);
  add_input_option(*command, request->benchmark.inputs);
  command->add_option("-d,--data", request->data, "Score models on a data set, as evaluate does")
      ->type_name("JSON|FILE|RECIPE#SET");
  add_op_library_option(*command, request->benchmark.op_libraries);
  command->callback([&context, request] { context.finish(compare_anything(context, *request)); });
}

}  // namespace edgecompress
