// How this folder words its errors: what is at fault first, then what was found.
#pragma once

#include <string>

#include "edgecompress/error.h"

namespace edgecompress {

/// `name`: of a file or a member of one.
[[noreturn]] inline void data_error(const std::string& name, const std::string& what,
                                    const std::string& hint = {}) {
  throw Error(ExitCode::kData, name + ": " + what, hint);
}

/// `pointer`: the JSON pointer of the option in the recipe.
[[noreturn]] inline void recipe_error(const std::string& pointer, const std::string& what,
                                      const std::string& hint = {}) {
  throw Error(ExitCode::kRecipe, pointer + ": " + what, hint);
}

}  // namespace edgecompress
