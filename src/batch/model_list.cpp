#include "batch/model_list.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "batch/manifest.h"
#include "edgecompress/error.h"
#include "recipe/options.h"
#include "util/hash.h"
#include "util/text.h"

namespace edgecompress {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestName = 150;  // files beside the folder have longer ones

bool is_utf8(const std::string& text) {
  try {
    Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

/// A path as one word that is fit for the name of a folder and for a log.
std::string flat_name(const fs::path& path) {
  std::string name = path.generic_string();
  const bool keeps_letters = is_utf8(name);
  for (char& letter : name) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == '/') {
      letter = '-';
    } else if (byte >= 0x80
                   ? !keeps_letters
                   : std::isalnum(byte) == 0 && letter != '.' && letter != '_' && letter != '-') {
      letter = '_';
    }
  }
  // Not hidden, no option, and none of the batch's own files.
  if (name.empty() || name[0] == '.' || name[0] == '-' || starts_with(name, "zoo.") ||
      name == "shards") {
    name.insert(0, "_");
  }
  return name;
}

std::string with_hash(const std::string& name, const std::string& of) {
  std::string kept = name.substr(0, kLongestName - 9);
  while (!is_utf8(kept)) kept.pop_back();
  return kept + "-" + sha256(of).substr(0, 8);
}

bool is_model_file(const fs::path& path) {
  static const std::set<std::string> extensions = {".pt", ".pth", ".ts", ".torchscript"};
  return extensions.count(path.extension().string()) != 0;
}

class Listing {
 public:
  explicit Listing(const fs::path& output) : output_(fs::weakly_canonical(output)) {}

  void add(const std::string& argument) {
    if (fs::is_directory(argument)) {
      add_folder(argument);
    } else if (fs::path(argument).extension() == ".json") {
      add_manifest(argument);
    } else if (fs::exists(argument)) {
      add_file(argument, fs::path(argument).stem());
    } else if (argument.find_first_of("*?[") != std::string::npos) {
      add_pattern(argument);
    } else {
      throw Error(ExitCode::kUsage, argument + ": there is no such file or folder");
    }
  }

  std::vector<ListedModel> named() {
    make_unique();
    std::vector<ListedModel> models;
    for (Found& found : found_) models.push_back(std::move(found.model));
    std::sort(models.begin(), models.end(),
              [](const ListedModel& a, const ListedModel& b) { return a.name < b.name; });
    return models;
  }

 private:
  struct Found {
    ListedModel model;
    bool is_name_given = false;
  };

  void add_file(const fs::path& path, const fs::path& called) {
    if (!seen_.insert(fs::weakly_canonical(path).string()).second) return;
    found_.push_back({{flat_name(called), fs::absolute(path).lexically_normal(), {}}});
  }

  void add_folder(const fs::path& folder) {
    const std::size_t before = found_.size();
    if (fs::canonical(folder) == output_) {
      throw Error(ExitCode::kUsage, folder.string() + ": it is the output folder",
                  "choose another folder for --output");
    }
    for (auto entry = fs::recursive_directory_iterator(folder);
         entry != fs::recursive_directory_iterator(); ++entry) {
      const fs::path& path = entry->path();
      const bool is_folder = entry->is_directory() && !entry->is_symlink();
      if (path.filename().string()[0] == '.' || (is_folder && fs::canonical(path) == output_)) {
        entry.disable_recursion_pending();
      } else if (entry->is_regular_file() && is_model_file(path)) {
        add_file(path, path.lexically_relative(folder).replace_extension());
      }
    }
    if (found_.size() == before) {
      throw Error(ExitCode::kUsage, folder.string() + ": no model is in it",
                  "a model file ends in .pt, .pth, .ts or .torchscript");
    }
  }

  void add_pattern(const std::string& pattern) {
    glob_t matches = {};
    const int failed = ::glob(pattern.c_str(), 0, nullptr, &matches);
    const std::vector<std::string> paths(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    ::globfree(&matches);
    if (failed != 0) throw Error(ExitCode::kUsage, pattern + ": nothing matches it");
    for (const std::string& path : paths) {
      if (fs::is_directory(path)) {
        add_folder(path);
      } else {
        add_file(path, fs::path(path).stem());
      }
    }
  }

  void add_manifest(const fs::path& manifest) {
    const fs::path base = fs::absolute(manifest).parent_path();
    for (const ManifestEntry& entry : read_manifest(manifest)) {
      const bool is_name_given = !entry.name.empty();
      if (is_name_given &&
          (flat_name(entry.name) != entry.name || entry.name.size() > kLongestName)) {
        throw Error(
            ExitCode::kUsage,
            fmt::format("{}: \"{}\" can't be the name of a folder", manifest.string(), entry.name),
            "letters, digits, '.', '_' and '-' can be in it, at most 150, the first of them "
            "none of '.' and '-'");
      }
      const fs::path path = (base / entry.model).lexically_normal();
      found_.push_back(
          {{is_name_given ? entry.name : flat_name(path.stem()), path, entry.set}, is_name_given});
    }
  }

  std::map<std::string, std::vector<Found*>> by_name() {
    std::map<std::string, std::vector<Found*>> groups;
    for (Found& found : found_) groups[found.model.name].push_back(&found);
    return groups;
  }

  /// Names that are the same get more of their paths, and a hash where that is of no help.
  void make_unique() {
    for (const auto& [name, group] : by_name()) {
      if (group.size() > 1) widen(group);
    }
    for (const auto& [name, group] : by_name()) {
      if (group.size() == 1 && name.size() <= kLongestName) continue;
      for (std::size_t i = 0; i < group.size(); ++i) {
        ListedModel& model = group[i]->model;
        if (group[i]->is_name_given) continue;
        model.name = with_hash(name, model.path.string() + "\n" + join(model.set, "\n"));
      }
    }
    for (const auto& [name, group] : by_name()) {
      if (group.size() == 1) continue;
      throw Error(ExitCode::kUsage, fmt::format("{} models are called \"{}\"", group.size(), name),
                  "give them other names in the manifest");
    }
  }

  /// What tells them apart is below the deepest folder that all are in.
  static void widen(const std::vector<Found*>& group) {
    fs::path common = group[0]->model.path.parent_path();
    for (const Found* found : group) {
      const fs::path folder = found->model.path.parent_path();
      while (*folder.lexically_relative(common).begin() == "..") {
        common = common.parent_path();
      }
    }
    for (Found* found : group) {
      if (!found->is_name_given)
        found->model.name = flat_name(found->model.path.lexically_relative(common));
    }
  }

  fs::path output_;
  std::set<std::string> seen_;
  std::vector<Found> found_;
};

}  // namespace

std::vector<ListedModel> list_models(const std::vector<std::string>& arguments,
                                     const fs::path& output) {
  try {
    Listing listing(output);
    for (const std::string& argument : arguments) listing.add(argument);
    return listing.named();
  } catch (const fs::filesystem_error& error) {
    throw Error(ExitCode::kUsage, fmt::format("{}: can't be listed: {}", error.path1().string(),
                                              error.code().message()));
  }
}

Shard parse_shard(const std::string& text) {
  Shard shard;
  const char *begin = text.data(), *end = begin + text.size();
  const auto index = std::from_chars(begin, end, shard.index);
  const bool has_slash = index.ec == std::errc() && index.ptr != end && *index.ptr == '/';
  const auto count = has_slash ? std::from_chars(index.ptr + 1, end, shard.count) : index;
  if (!has_slash || count.ec != std::errc() || count.ptr != end || shard.index < 1 ||
      shard.index > shard.count) {
    throw Error(ExitCode::kUsage,
                fmt::format("--shard: found \"{}\", expected I/N with I from 1 to N", text));
  }
  return shard;
}

std::vector<ListedModel> part_of(const std::vector<ListedModel>& models, const Shard& shard) {
  std::vector<ListedModel> part;
  for (std::size_t i = static_cast<std::size_t>(shard.index - 1); i < models.size();
       i += static_cast<std::size_t>(shard.count)) {
    part.push_back(models[i]);
  }
  return part;
}

}  // namespace edgecompress
