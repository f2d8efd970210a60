// Where finished steps are kept: spelt alike wherever a command works with them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

namespace edgecompress {

struct CacheOptions {
  /// $EDGECOMPRESS_CACHE, else $XDG_CACHE_HOME/edgecompress, else ~/.cache/edgecompress; "" without
  /// a home.
  std::string folder;
  std::int64_t most_mib = 4096;
  bool is_off = false;

  /// "" where nothing is to be kept.
  std::string enabled_folder() const { return is_off ? "" : folder; }
  std::int64_t bytes() const { return most_mib << 20; }
};

/// --cache and --cache-mib.
std::shared_ptr<CacheOptions> add_cache_location(CLI::App& command);
/// The same and --no-cache.
std::shared_ptr<CacheOptions> add_cache_options(CLI::App& command);

}  // namespace edgecompress
