#include <stdexcept>

#include "cli/catalogue.h"
#include "fuzz/parts.h"
#include "fuzz/readers.h"
#include "recipe/recipe.h"

void edgecompress::fuzz::read_recipe(std::string_view input) {
  const Recipe recipe = load_recipe(memory_file(input), known_passes());
  // What a recipe means in full is a recipe that means the same.
  const Recipe again = parse_recipe(recipe.resolved, recipe.base, known_passes());
  if (again.resolved_text() != recipe.resolved_text()) {
    throw std::logic_error("a resolved recipe resolves to another");
  }
}
