// What must hold of every step, whatever the pass: the runner doesn't take a pass's word for it.
#pragma once

#include <filesystem>

#include "model/model.h"

namespace edgecompress {

/// On one seeded example batch: `after` gives as many outputs as `before`, of the same shapes, that
/// are finite where those of `before` were, or, with `new_outputs` (see PassNeeds), everywhere; the
/// file `saved` gives the outputs of `after`.
/// Throws Error(kPass). Without known inputs nothing can be run, so nothing is checked.
void check_step(const Model& before, const Model& after, const std::filesystem::path& saved,
                bool new_outputs);

}  // namespace edgecompress
