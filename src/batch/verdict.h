// What a process's end means for its model.
#pragma once

#include <filesystem>

#include "batch/child.h"
#include "batch/zoo.h"

namespace edgecompress {

/// State, reason, figures and costs, from the end and from what the process left in `folder`.
void judge_end(const ChildEnd& end, const ChildLimits& limits, const std::filesystem::path& folder,
               ZooRow& row);

}  // namespace edgecompress
