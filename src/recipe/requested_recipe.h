// The recipe that a request for a run means: the file, and what the request says otherwise.
#pragma once

#include "edgecompress/edgecompress.h"
#include "recipe/recipe.h"

namespace edgecompress {

/// As load_recipe().
Recipe requested_recipe(const RunRequest& request, const PassCatalogue& catalogue);

}  // namespace edgecompress
