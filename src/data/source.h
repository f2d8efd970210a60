// Where samples come from: one file for each kind of source, found by name.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "recipe/options.h"

namespace edgecompress {

/// What a recipe says of a source.
struct SourceRequest {
  std::filesystem::path path;  ///< ready to open
  std::vector<std::string> inputs;
  std::string target;  ///< empty: no labels
  Json options;        ///< resolved by the source's own table
};

struct Source {
  std::string name;
  std::string summary;
  bool needs_path = true;
  OptionTable options;
  /// Throws Error(kData) naming the file.
  std::function<std::shared_ptr<const Dataset>(const SourceRequest&)> open;
};

Source npz_source();
Source npy_source();
Source torch_source();
Source image_folder_source();
Source csv_source();
Source synthetic_source();

const std::vector<Source>& sources();
/// Throws Error(kRecipe) at `pointer`, naming the nearest source, if there is none of that name.
const Source& find_source(const std::string& name, const std::string& pointer);

}  // namespace edgecompress
