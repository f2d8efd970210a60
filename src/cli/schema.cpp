#include "cli/catalogue.h"
#include "cli/command.h"
#include "recipe/recipe.h"

namespace edgecompress {

void add_schema(CLI::App& app, CommandContext& context) {
  CLI::App* command = add_command(app, "schema", "Print the JSON Schema of recipes, for editors",
                                  "  edgecompress schema > edgecompress.schema.json");
  command->callback([&context] { context.result = recipe_schema(known_passes()).dump(2) + "\n"; });
}

}  // namespace edgecompress
