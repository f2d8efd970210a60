#include "recipe/pass_catalogue.h"

#include <fmt/format.h>

#include <algorithm>

#include "edgecompress/error.h"
#include "util/table.h"
#include "util/text.h"

namespace edgecompress {

namespace {

Json to_json(const PassNeeds& needs) {
  return {{"calibration", needs.calibration},
          {"training", needs.training},
          {"labels", needs.labels},
          {"float_model", needs.float_model},
          {"makes_int8", needs.makes_int8},
          {"new_outputs", needs.new_outputs},
          {"float_activations", needs.float_activations},
          {"int8_activations", needs.int8_activations}};
}

PassNeeds needs_from_json(const Json& json) {
  return {json.at("calibration"),       json.at("training"),        json.at("labels"),
          json.at("float_model"),       json.at("makes_int8"),      json.at("new_outputs"),
          json.at("float_activations"), json.at("int8_activations")};
}

std::string needs_text(const PassNeeds& needs) {
  std::vector<std::string> parts;
  if (needs.training) parts.emplace_back(needs.labels ? "labelled training data" : "training data");
  if (needs.calibration) parts.emplace_back("calibration data");
  if (needs.float_model) parts.emplace_back("a float model");
  if (needs.float_activations) parts.emplace_back("float activations");
  return join(parts, ", ");
}

bool holds(const PassDescription::When& condition, const Json& resolved_options) {
  const Json::json_pointer place("/" + condition.option);
  if (!resolved_options.contains(place)) return false;
  const Json& found = resolved_options.at(place);
  return condition.value.is_null() ? !found.is_null() : found == condition.value;
}

PassNeeds both(const PassNeeds& a, const PassNeeds& b) {
  return {a.calibration || b.calibration,
          a.training || b.training,
          a.labels || b.labels,
          a.float_model || b.float_model,
          a.makes_int8 || b.makes_int8,
          a.new_outputs || b.new_outputs,
          a.float_activations || b.float_activations,
          a.int8_activations || b.int8_activations};
}

/// "mode static", or the option alone where any value will do.
std::string condition_text(const PassDescription::When& condition) {
  if (condition.value.is_null()) return condition.option;
  return condition.option + " " +
         (condition.value.is_string() ? condition.value.get<std::string>()
                                      : condition.value.dump());
}

/// What a pass needs, where that hangs on its options too.
std::string needs_text(const PassDescription& pass) {
  std::string text = needs_text(pass.needs);
  for (std::size_t i = 0; i < pass.when.size();) {
    const std::string needs = needs_text(pass.when[i].needs);
    std::vector<std::string> conditions;
    for (; i < pass.when.size() && needs_text(pass.when[i].needs) == needs; ++i)
      conditions.push_back(condition_text(pass.when[i]));
    if (needs == needs_text(pass.needs)) continue;
    text += fmt::format("{}with {}: {}", text.empty() ? "" : "; ", join(conditions, ", "),
                        needs.empty() ? "nothing" : needs);
  }
  return text.empty() ? "–" : text;
}

std::string default_text(const Option& option) {
  if (option.is_required) return "required";
  if (option.default_value.is_null()) return "–";
  if (option.table && option.type == OptionType::kObject) return "";
  return option.default_value.dump();
}

void add_option_rows(Table& table, const OptionTable& options, const std::string& prefix) {
  for (const Option& option : options.options()) {
    const std::string name = prefix + option.name;
    table.add_row({"`" + name + "`", option.type_text(), default_text(option), option.help_text()});
    if (option.table) add_option_rows(table, *option.table, name + ".");
  }
}

void append_options(std::string& text, const OptionTable& options, const std::string& prefix) {
  constexpr std::size_t kWidth = 100;
  for (const Option& option : options.options()) {
    const std::string name = prefix + option.name, preset = default_text(option);
    text += fmt::format("\n  {}: {}", name, option.type_text());
    if (option.is_required) {
      text += ", required";
    } else if (!option.default_value.is_null() && !preset.empty()) {
      text += ", by default " + preset;
    }
    text += "\n" + wrapped(option.help_text(), kWidth, "      ");
    if (option.table) append_options(text, *option.table, name + ".");
  }
}

}  // namespace

PassNeeds PassDescription::needs_with(const Json& resolved_options) const {
  std::optional<PassNeeds> changed;
  for (const When& condition : when) {
    const bool is_refined = std::any_of(when.begin(), when.end(), [&](const When& other) {
      return other.option.rfind(condition.option + "/", 0) == 0 && holds(other, resolved_options);
    });
    if (holds(condition, resolved_options) && !is_refined)
      changed = changed ? both(*changed, condition.needs) : condition.needs;
  }
  return changed.value_or(needs);
}

const PassDescription& PassCatalogue::at(const std::string& name,
                                         const std::string& pointer) const {
  std::vector<std::string> names;
  for (const PassDescription& pass : passes_) {
    if (pass.name == name) return pass;
    names.push_back(pass.name);
  }
  const std::string nearest = nearest_name(name, names);
  throw Error(ExitCode::kRecipe,
              fmt::format("{}: found {}, expected the name of a pass", pointer, describe(name)),
              nearest.empty() ? "the passes are: " + join(names, ", ")
                              : fmt::format("did you mean \"{}\"?", nearest));
}

Json PassCatalogue::to_json() const {
  Json list = Json::array();
  for (const PassDescription& pass : passes_) {
    Json conditions = Json::array();
    for (const PassDescription::When& condition : pass.when) {
      conditions.push_back({{"option", condition.option},
                            {"value", condition.value},
                            {"needs", edgecompress::to_json(condition.needs)}});
    }
    list.push_back({{"name", pass.name},
                    {"summary", pass.summary},
                    {"options", pass.options.to_json()},
                    {"needs", edgecompress::to_json(pass.needs)},
                    {"when", std::move(conditions)}});
  }
  return list;
}

PassCatalogue PassCatalogue::from_json(const Json& json) {
  std::vector<PassDescription> passes;
  for (const Json& entry : json) {
    PassDescription pass{entry.at("name"),
                         entry.at("summary"),
                         OptionTable::from_json(entry.at("options")),
                         needs_from_json(entry.at("needs")),
                         {}};
    for (const Json& condition : entry.at("when")) {
      pass.when.push_back(
          {condition.at("option"), condition.at("value"), needs_from_json(condition.at("needs"))});
    }
    passes.push_back(std::move(pass));
  }
  return PassCatalogue(std::move(passes));
}

std::string to_markdown(const PassDescription& pass) {
  std::string text =
      fmt::format("### {}\n\n{}. Needs: {}.\n\n", pass.name, pass.summary, needs_text(pass));
  if (pass.options.options().empty()) return text + "No options.\n";
  Table table({"Option", "Type", "Default", "Meaning"});
  add_option_rows(table, pass.options, "");
  return text + table.markdown();
}

std::string to_console(const PassDescription& pass) {
  std::string text =
      fmt::format("{}\n  {}\n  needs: {}\n", pass.name, pass.summary, needs_text(pass));
  if (pass.options.options().empty()) return text + "\n  No options.\n";
  append_options(text, pass.options, "");
  return text;
}

std::string PassCatalogue::markdown() const {
  Table table({"Pass", "What it does", "Needs"});
  for (const PassDescription& pass : passes_)
    table.add_row({"`" + pass.name + "`", pass.summary, needs_text(pass)});
  return table.markdown();
}

std::string PassCatalogue::console() const {
  Table table({"Pass", "What it does", "Options"});
  for (const PassDescription& pass : passes_)
    table.add_row({pass.name, pass.summary, std::to_string(pass.options.options().size())});
  return table.console() +
         "\n`edgecompress passes PASS` tells what a pass needs and its options.\n";
}

}  // namespace edgecompress
