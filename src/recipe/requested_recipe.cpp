#include "recipe/requested_recipe.h"

namespace edgecompress {

Recipe requested_recipe(const RunRequest& request, const PassCatalogue& catalogue) {
  RecipeOverrides overrides;
  overrides.model = request.model;
  overrides.output = request.output;
  overrides.seed = request.seed;
  overrides.threads = request.threads;
  overrides.deterministic = request.deterministic;
  overrides.overwrite = request.overwrite;
  overrides.set = request.set;
  return load_recipe(request.recipe, catalogue, overrides);
}

}  // namespace edgecompress
