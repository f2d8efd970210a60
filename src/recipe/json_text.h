// JSON that people write: what the JSON library lets pass silently is an error here.
#pragma once

#include <string>

#include "recipe/options.h"

namespace edgecompress {

/// Throws Error(kRecipe): for a syntax error, which it names by line and column, for a key that is
/// given twice in one object, and for nesting deeper than 64 levels.
Json parse_json(const std::string& text);

}  // namespace edgecompress
