// Which layers a pass works on: `include` and `exclude`, regular expressions on layer names.
#pragma once

#include <regex>
#include <string>
#include <vector>

namespace edgecompress {

class LayerFilter {
 public:
  /// ECMAScript expressions without back-references, that match anywhere in a name ("^layer1\\."
  /// only at its start). An empty `include` means every layer. Throws Error(kRecipe) for an
  /// expression that can't be parsed or is longer than 256 characters.
  /// `include_name`: the option that a message about `include` names.
  LayerFilter(const std::vector<std::string>& include, const std::vector<std::string>& exclude,
              const std::string& include_name = "include");

  bool accepts(const std::string& layer_name) const;

 private:
  std::vector<std::regex> include_, exclude_;
};

}  // namespace edgecompress
