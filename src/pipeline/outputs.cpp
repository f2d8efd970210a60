#include "pipeline/outputs.h"

#include <algorithm>

#include "edgecompress/error.h"
#include "util/file.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

bool writes(const Recipe& recipe, const char* report) {
  const auto& wanted = recipe.output.report;
  return std::find(wanted.begin(), wanted.end(), report) != wanted.end();
}

/// Text from a model may be no UTF-8; that must not cost the report.
std::string dump(const Json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

/// What a run always writes, by what it is.
std::map<std::string, std::string> base_files(const Recipe& recipe) {
  std::map<std::string, std::string> files = {
      {"model", "model.pt"}, {"recipe", kResolvedRecipe}, {"log", "run.log"}};
  if (writes(recipe, "json")) files["report"] = "report.json";
  if (writes(recipe, "markdown")) files["report_markdown"] = "report.md";
  return files;
}

}  // namespace

std::vector<std::string> planned_outputs(const Recipe& recipe) {
  std::vector<std::string> names;
  for (const auto& file : base_files(recipe)) names.push_back(file.second);
  return names;
}

void write_outputs(const Recipe& recipe, Runner& runner, const fs::path& folder) {
  Report& report = runner.report();
  report.files = base_files(recipe);
  copy_file_atomic(runner.best_file(), folder / "model.pt", ExitCode::kModel);
  for (const auto& [name, bytes] : runner.pass_files()) {
    const fs::path path = folder / name;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    write_file_atomic(path, bytes);
    report.files[name] = name;
  }
  write_file_atomic(folder / kResolvedRecipe, recipe.resolved_text());
  if (writes(recipe, "json")) write_file_atomic(folder / "report.json", dump(to_json(report)));
  if (writes(recipe, "markdown")) write_file_atomic(folder / "report.md", to_markdown(report));
}

}  // namespace edgecompress
