#include <fmt/format.h>

#include "cli/catalogue.h"
#include "cli/command.h"
#include "recipe/recipe.h"
#include "util/text.h"

namespace edgecompress {

void add_validate(CLI::App& app, CommandContext& context) {
  struct Request {
    std::string recipe;
    std::vector<std::string> set;
  };
  auto request = std::make_shared<Request>();
  CLI::App* command =
      add_command(app, "validate", "Check a recipe without opening the model or the data",
                  "  edgecompress validate recipe.json\n"
                  "  edgecompress validate recipe.json --json   the recipe with every default");
  command->add_option("recipe", request->recipe, "Recipe file; - reads standard input")
      ->required()
      ->type_name("RECIPE");
  command->add_option("--set", request->set, "Change one value of the recipe; may be repeated")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  add_json_flag(*command, context, "Print the recipe with every default filled in");
  command->callback([&context, request] {
    RecipeOverrides overrides;
    overrides.set = request->set;
    const Recipe recipe = load_recipe(request->recipe, known_passes(), overrides);
    if (context.is_json) {
      context.result = recipe.resolved.dump(2) + "\n";
      return;
    }
    std::vector<std::string> passes;
    for (const StepSpec& step : recipe.passes) passes.push_back(step.pass);
    context.result = fmt::format("{} is valid: {}\n", request->recipe,
                                 passes.empty() ? "no passes" : join(passes, ", "));
  });
}

}  // namespace edgecompress
