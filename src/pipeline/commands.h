// The commands behind edgecompress/edgecompress.h, one file each.
#pragma once

#include "edgecompress/edgecompress.h"
#include "util/progress.h"

namespace edgecompress {

Outcome run_command(const RunRequest& request, Progress& progress);
Outcome inspect_command(const InspectRequest& request, Progress& progress);
Outcome evaluate_command(const EvaluateRequest& request, Progress& progress);
Outcome benchmark_command(const BenchmarkRequest& request, Progress& progress);
Outcome demo_command(const DemoRequest& request, Progress& progress);

}  // namespace edgecompress
