// Reading a recipe's text, and the command line's changes to it.
#include <fmt/format.h>

#include <charconv>
#include <iostream>

#include "edgecompress/error.h"
#include "recipe/json_text.h"
#include "recipe/recipe.h"
#include "recipe/sections.h"
#include "util/file.h"
#include "util/text.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestFile = std::int64_t{16} << 20;

std::string read_stdin() {
  std::string text;
  std::vector<char> chunk(std::size_t{1} << 16);
  while (std::cin) {
    std::cin.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    text.append(chunk.data(), static_cast<std::size_t>(std::cin.gcount()));
    if (static_cast<std::int64_t>(text.size()) > kLargestFile) {
      throw Error(ExitCode::kRecipe, fmt::format("larger than {} bytes", kLargestFile));
    }
  }
  return text;
}

[[noreturn]] void fail_override(const std::string& assignment, const std::string& why,
                                const std::string& hint = {}) {
  throw Error(ExitCode::kUsage, fmt::format("--set {}: {}", assignment, why), hint);
}

/// Where in a recipe an override is: the value, and the table of its keys where one is known.
struct Place {
  Json* value;
  const OptionTable* table;
};

Place element(const Place& list, const std::string& token, const std::string& assignment) {
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), index);
  if (error != std::errc() || end != token.data() + token.size() || index >= list.value->size()) {
    fail_override(assignment, fmt::format("found \"{}\", expected an index below {}", token,
                                          list.value->size()));
  }
  return {&(*list.value)[index], list.table};
}

Place member(const Place& object, const std::string& token, const std::string& assignment) {
  const OptionTable* table = nullptr;
  if (object.table != nullptr) {
    const Option* option = object.table->find(token);
    if (option == nullptr) {
      std::vector<std::string> known;
      for (const Option& candidate : object.table->options()) known.push_back(candidate.name);
      const std::string nearest = nearest_name(token, known);
      fail_override(assignment, fmt::format("a recipe has no \"{}\" here", token),
                    nearest.empty() ? "known here: " + join(known, ", ")
                                    : fmt::format("did you mean \"{}\"?", nearest));
    }
    table = option->table.get();
  }
  return {&(*object.value)[token], table};
}

void apply_options(Json& json, const RecipeOverrides& overrides) {
  const auto set = [&json](const char* section, const char* key, Json value) {
    Json& target = json[section];
    if (target.is_null()) target = Json::object();
    // Anything but an object is left for the checks of the recipe to complain about.
    if (target.is_object()) target[key] = std::move(value);
  };
  if (overrides.model) set("model", "path", fs::absolute(*overrides.model).string());
  if (overrides.output) set("output", "directory", fs::absolute(*overrides.output).string());
  if (overrides.overwrite) set("output", "overwrite", true);
  if (overrides.seed) json["seed"] = *overrides.seed;
  if (overrides.threads) json["threads"] = *overrides.threads;
  if (overrides.deterministic) json["deterministic"] = true;
}

}  // namespace

void apply_override(Json& recipe, const std::string& assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == 0 || equals == std::string::npos) {
    fail_override(assignment, "expected PATH=VALUE", "for example --set passes/0/ratio=0.3");
  }
  std::string path = assignment.substr(0, equals);
  if (path.front() == '/') path.erase(0, 1);
  const char separator = path.find('/') == std::string::npos ? '.' : '/';

  Place place{&recipe, &recipe_sections().table()};
  for (const std::string& token : split(path, separator)) {
    if (place.value->is_array()) {
      place = element(place, token, assignment);
    } else if (place.value->is_object() || place.value->is_null()) {
      place = member(place, token, assignment);
    } else {
      fail_override(assignment,
                    fmt::format("\"{}\" is looked for inside {}", token, describe(*place.value)));
    }
  }
  const std::string text = assignment.substr(equals + 1);
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  *place.value = value.is_discarded() ? Json(text) : std::move(value);
}

Recipe load_recipe(const fs::path& path, const PassCatalogue& catalogue,
                   const RecipeOverrides& overrides) {
  const bool is_stdin = path == "-";
  std::string text = is_stdin ? std::string() : read_file(path, ExitCode::kRecipe, kLargestFile);
  try {
    if (is_stdin) text = read_stdin();
    Json json = parse_json(text);
    if (json.is_object()) {
      for (const std::string& assignment : overrides.set) apply_override(json, assignment);
      apply_options(json, overrides);
    }
    return parse_recipe(json, is_stdin ? fs::current_path() : fs::absolute(path).parent_path(),
                        catalogue);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kRecipe) throw;
    throw Error(ExitCode::kRecipe,
                fmt::format("{}: {}", is_stdin ? "standard input" : path.string(), error.what()),
                error.hint());
  }
}

}  // namespace edgecompress
