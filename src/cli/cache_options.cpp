#include "cli/cache_options.h"

#include <cstdlib>
#include <filesystem>

namespace edgecompress {
namespace {

constexpr std::int64_t kMostMib = std::int64_t{1} << 30;

std::string usual_folder() {
  for (const auto& [variable, folder] :
       {std::pair<const char*, const char*>{"XDG_CACHE_HOME", ""}, {"HOME", ".cache"}}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value != '/') continue;  // XDG: a relative path is to be ignored
    return (std::filesystem::path(value) / folder / "edgecompress").string();
  }
  return "";
}

}  // namespace

std::shared_ptr<CacheOptions> add_cache_location(CLI::App& command) {
  auto options = std::make_shared<CacheOptions>();
  options->folder = usual_folder();
  command.add_option("--cache", options->folder, "Where finished steps are kept")
      ->envname("EDGECOMPRESS_CACHE")
      ->capture_default_str()
      ->type_name("DIR");
  command
      .add_option("--cache-mib", options->most_mib,
                  "Most MiB that they may take; those used longest ago go")
      ->envname("EDGECOMPRESS_CACHE_MIB")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, kMostMib))
      ->type_name("MIB");
  return options;
}

std::shared_ptr<CacheOptions> add_cache_options(CLI::App& command) {
  auto options = add_cache_location(command);
  command
      .add_flag("--no-cache", options->is_off,
                "Do every step anew, whatever earlier runs did, and keep none")
      ->envname("EDGECOMPRESS_NO_CACHE");
  return options;
}

}  // namespace edgecompress
