#include "pipeline/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <filesystem>

#include "passes/registry.h"
#include "pipeline/outputs.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// "ratio=0.3 optimizer.lr=0.05": what the recipe says otherwise than the defaults.
void list_changes(const OptionTable& table, const Json& options, const std::string& prefix,
                  std::vector<std::string>& changes) {
  for (const Option& option : table.options()) {
    const auto value = options.find(option.name);
    if (value == options.end() || *value == option.default_value) continue;
    const bool is_nested = option.type == OptionType::kObject && option.table != nullptr;
    if (is_nested && value->is_object()) {
      list_changes(*option.table, *value, prefix + option.name + ".", changes);
    } else {
      changes.push_back(prefix + option.name + "=" + value->dump());
    }
  }
}

std::string describe_gate(const GateSpec& gate) {
  std::vector<std::string> bounds;
  if (gate.max_accuracy_drop) {
    bounds.push_back(fmt::format("max_accuracy_drop {}", *gate.max_accuracy_drop));
  }
  if (gate.max_size_ratio) bounds.push_back(fmt::format("max_size_ratio {}", *gate.max_size_ratio));
  if (gate.min_speedup) bounds.push_back(fmt::format("min_speedup {}", *gate.min_speedup));
  return join(bounds, ", ");
}

std::string describe_inputs(const std::vector<InputSpec>& inputs) {
  std::vector<std::string> parts;
  for (const InputSpec& input : inputs) {
    parts.push_back(fmt::format("{} {}", fmt::join(input.shape, "x"), input.dtype));
  }
  return parts.empty() ? "shapes unknown" : join(parts, ", ");
}

std::string describe_data(const DataSets& data) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, const std::shared_ptr<const Dataset>& set) {
    if (set) parts.push_back(fmt::format("{} {}", name, set->size()));
  };
  add("train", data.train);
  add("calibration", data.calibration);
  add("validation", data.validation);
  add("test", data.test);
  return parts.empty() ? "none" : join(parts, ", ") + " samples";
}

std::string describe_step(std::size_t index, const StepSpec& step) {
  std::vector<std::string> changes;
  list_changes(find_pass(step.pass).description.options, step.options, "", changes);
  std::string text = fmt::format("  {} {}  {}\n", index + 1, step.pass,
                                 changes.empty() ? "(defaults)" : join(changes, " "));
  const std::string gate = describe_gate(step.gate);
  if (!gate.empty()) {
    text += fmt::format("      gate: {}, on_fail {}\n", gate, step.gate.on_fail);
  }
  return text;
}

std::string shapes_text(const std::vector<std::vector<std::int64_t>>& shapes) {
  std::vector<std::string> parts;
  for (const auto& shape : shapes) parts.push_back(fmt::format("{}", fmt::join(shape, "x")));
  return parts.empty() ? "unknown" : join(parts, ", ");
}

std::string describe_forecasts(const Recipe& recipe, const std::vector<Forecast>& forecasts) {
  using Align = Table::Align;
  Table table({"after", "outputs", "parameters", "MACs", "file", "peak memory", "time"},
              {Align::kLeft, Align::kLeft, Align::kRight, Align::kRight, Align::kRight,
               Align::kRight, Align::kRight});
  std::string obstacles;
  double seconds = 0;
  for (std::size_t i = 0; i < forecasts.size(); ++i) {
    const Forecast& forecast = forecasts[i];
    const std::string step = fmt::format("{} {}", i + 1, recipe.passes[i].pass);
    if (!forecast.obstacle.empty()) {
      obstacles += fmt::format("note    no forecast of {}: {}\n", step, forecast.obstacle);
      continue;
    }
    seconds += forecast.seconds;
    table.add_row({step, shapes_text(forecast.outputs), human_count(forecast.parameters),
                   forecast.macs ? human_count(*forecast.macs) : "unknown",
                   human_bytes(forecast.file_bytes), human_bytes(forecast.peak_memory_bytes),
                   human_duration(forecast.seconds)});
  }
  return table.console() + obstacles +
         fmt::format(
             "told by doing the steps on a few batches; all of them: {}, evaluations not counted\n",
             human_duration(seconds));
}

}  // namespace

std::string describe_plan(const Recipe& recipe, const Preparation& preparation,
                          const std::vector<Forecast>& forecasts) {
  const fs::path output = recipe.locate(recipe.output.directory);
  std::string text = fmt::format(
      "Plan of {} (nothing was written)\n"
      "model   {}, {}, {}\n"
      "data    {}\n"
      "seed {}, threads {}, metric {}\n"
      "steps\n",
      recipe.name.empty() ? "the run" : recipe.name, preparation.model_path.string(),
      human_bytes(static_cast<std::int64_t>(fs::file_size(preparation.model_path))),
      describe_inputs(preparation.inputs), describe_data(preparation.data), recipe.seed,
      preparation.threads, recipe.evaluation.metric);
  for (std::size_t i = 0; i < recipe.passes.size(); ++i) text += describe_step(i, recipe.passes[i]);
  if (!forecasts.empty()) text += "\n" + describe_forecasts(recipe, forecasts) + "\n";
  const std::string gates = describe_gate(recipe.gates);
  if (!gates.empty()) text += "gates   " + gates + "\n";
  text += fmt::format("output  {}: {}\n", output.string(), join(planned_outputs(recipe), ", "));
  for (const std::string& note : preparation.notes) text += "note    " + note + "\n";
  std::error_code none;
  if (!recipe.output.overwrite && fs::exists(output, none) && !fs::is_empty(output, none)) {
    text += "note    the output folder is not empty: the run needs --overwrite\n";
  }
  return text;
}

}  // namespace edgecompress
