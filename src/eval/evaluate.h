// Accuracy and fidelity of anything that maps inputs to outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "report/report.h"
#include "util/progress.h"

namespace edgecompress {

class ReferenceOutputs;

/// What is evaluated: a canonical Model, a stored file, a teacher.
using Forward = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// top1, top5, f1 (macro), mse, mae. "auto": top1 for integer targets, else mse.
/// Throws Error(kData) naming the sample for a non-finite output, a label out of range or outputs
/// whose shape does not fit the metric. Runs in inference mode.
Score evaluate_score(const Forward& forward, const Dataset& data, std::int64_t batch_size,
                     const std::string& metric, const std::string& data_name, Progress& progress);

/// Outputs against a reference's on the same inputs; labels are not needed. All outputs count for
/// cosine and SQNR; top-1 agreement looks at the first output if it is [n, classes].
Fidelity evaluate_fidelity(const Forward& forward, const Forward& reference, const Dataset& data,
                           std::int64_t batch_size, const std::string& data_name,
                           Progress& progress);
/// The same for one of several models that are compared with one reference on the same data in the
/// same batches.
Fidelity evaluate_fidelity(const Forward& forward, ReferenceOutputs& reference, const Dataset& data,
                           std::int64_t batch_size, const std::string& data_name,
                           Progress& progress);

/// Checks before any work that the model accepts the data and that labels and shapes fit its
/// outputs: one batch of each set is run. Throws Error(kData) naming the set, what was found and
/// expected (NaN in the data too).
void check_data_fits(const Forward& forward, const DataSets& data, const std::string& metric);

/// "auto" resolved from the data.
std::string resolve_metric(const std::string& metric, const Dataset& data);
bool higher_is_better(const std::string& metric);
/// How much worse `after` is than `before`, in the metric's unit; negative: it is better.
double accuracy_drop(const Score& before, const Score& after);

}  // namespace edgecompress
