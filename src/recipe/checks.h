// What must hold between the parts of a recipe, beyond each value's own type and range.
#pragma once

#include <map>
#include <string>

#include "recipe/recipe.h"

namespace edgecompress {

/// Each throws Error(kRecipe) at the pointer of what is wrong.
void check_model(const ModelSpec& model);
void check_dataset(const DatasetSpec& set, const std::string& pointer);
void check_data(const std::map<std::string, DatasetSpec>& data);
/// The order of the passes, and the data that they need. Needs a recipe whose data was checked.
void check_passes(const Recipe& recipe, const PassCatalogue& catalogue);

}  // namespace edgecompress
