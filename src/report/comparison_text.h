// How comparisons word their cells; shared by their writers.
#pragma once

#include <string>
#include <vector>

#include "report/comparison.h"

namespace edgecompress {

inline constexpr const char* kSpoiledLatencies =
    "Latencies are not comparable: they were measured under other conditions. Speed-ups are each "
    "over the run's own original.";

/// "kept", "kept > failed": one where all are alike.
std::string states_text(const std::vector<std::string>& states);
/// "91.2 % > 90.8 %" of the figure of that name, an en dash if the section has none.
std::string figure_text(const Comparison::Section& section, const std::string& name);
/// As Markdown; that there are none, if so.
std::string regression_list(const std::vector<std::string>& regressions);

}  // namespace edgecompress
