#include "batch/manifest.h"

#include <fmt/format.h>

#include "edgecompress/error.h"
#include "recipe/json_text.h"
#include "recipe/options.h"
#include "util/file.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestManifest = std::int64_t{16} << 20;

/// An entry as it is written.
struct EntryText {
  std::string model, name;
  std::vector<std::string> set;
  Json inputs, data;
};

struct ManifestText {
  std::vector<EntryText> models;
};

const Options<ManifestText>& manifest_options() {
  static const Options<ManifestText> options = [] {
    Options<EntryText> entry;
    entry.add("model", &EntryText::model, "model file").required();
    entry.add("name", &EntryText::name, "what it is called; default: as its file");
    entry.add("set", &EntryText::set, "changes to the recipe: PATH=VALUE");
    entry.add("inputs", &EntryText::inputs, "in place of the recipe's model/inputs");
    entry.add("data", &EntryText::data, "in place of the recipe's data");
    Options<ManifestText> manifest;
    manifest.add("models", &ManifestText::models, entry, "the models").required();
    return manifest;
  }();
  return options;
}

/// Paths of a manifest are relative to it, those of a recipe to the recipe.
Json with_absolute_paths(Json data, const fs::path& base) {
  if (!data.is_object()) return data;
  for (Json& set : data) {
    if (set.is_object() && set.contains("path") && set["path"].is_string()) {
      set["path"] = (base / set["path"].get<std::string>()).lexically_normal().string();
    }
  }
  return data;
}

std::vector<ManifestEntry> parse_manifest(const std::string& text, const fs::path& base) {
  const ManifestText manifest = manifest_options().parse(parse_json(text), "");
  std::vector<ManifestEntry> entries;
  for (const EntryText& given : manifest.models) {
    ManifestEntry entry{given.model, given.name, given.set};
    if (!given.inputs.is_null()) entry.set.push_back("model/inputs=" + given.inputs.dump());
    if (!given.data.is_null()) {
      entry.set.push_back("data=" + with_absolute_paths(given.data, base).dump());
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

std::vector<ManifestEntry> read_manifest(const fs::path& path) {
  const std::string text = read_file(path, ExitCode::kUsage, kLargestManifest);
  try {
    return parse_manifest(text, fs::absolute(path).parent_path());
  } catch (const Error& error) {
    throw Error(ExitCode::kUsage, fmt::format("{}: {}", path.string(), error.what()), error.hint());
  }
}

}  // namespace edgecompress
