// Finished steps, kept on disk, so that no run does again what another has done.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "passes/pass.h"
#include "recipe/options.h"
#include "util/result_store.h"

namespace edgecompress {

/// What a pass did, apart from what is measured of it.
struct StepWork {
  PassResult result;
  double seconds = 0;
  std::int64_t peak_memory_bytes = 0;
  std::string done;  ///< when it was, if it was an earlier run: ISO 8601, UTC; else empty
};

class StepCache {
 public:
  /// Keeps nothing and finds nothing.
  StepCache() = default;
  explicit StepCache(ResultStore store);

  /// The work of a step with exactly this fingerprint (see step_fingerprint()); its model, if the
  /// step changed it, is copied to `model`. Where there is none, the log says what sets the nearest
  /// one apart. A cache that can't be read costs a warning, nothing more.
  std::optional<StepWork> find(const Json& fingerprint, const std::filesystem::path& model) const;
  /// A cache that can't be written costs a warning, nothing more.
  void keep(const Json& fingerprint, const StepWork& work,
            const std::filesystem::path& model) const;

 private:
  void tell_nearest(const Json& fingerprint) const;

  std::optional<ResultStore> store_;
};

}  // namespace edgecompress
