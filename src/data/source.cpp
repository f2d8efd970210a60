#include "data/source.h"

#include <fmt/format.h>

#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {

const std::vector<Source>& sources() {
  static const std::vector<Source> all = {npz_source(),          npy_source(), torch_source(),
                                          image_folder_source(), csv_source(), synthetic_source()};
  return all;
}

const Source& find_source(const std::string& name, const std::string& pointer) {
  std::vector<std::string> names;
  for (const auto& source : sources()) {
    if (source.name == name) return source;
    names.push_back(source.name);
  }
  const auto nearest = nearest_name(name, names);
  throw Error(ExitCode::kRecipe,
              fmt::format("{}: there is no data source '{}', expected one of {}", pointer, name,
                          join(names, ", ")),
              nearest.empty() ? "" : fmt::format("did you mean '{}'?", nearest));
}

}  // namespace edgecompress
