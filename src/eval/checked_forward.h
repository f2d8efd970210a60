// One batch through a model with every failure turned into a message that names set and sample.
#pragma once

#include <ATen/core/Tensor.h>

#include <exception>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "eval/evaluate.h"
#include "eval/metrics.h"

namespace edgecompress {

/// Outputs of one batch, run in inference mode; there is at least one, and all are finite.
/// Throws Error(kData) if the model refuses the batch (naming what it said and what it was given),
/// or for a non-finite output, naming the first such sample and whether its input was finite.
std::vector<at::Tensor> run_checked(const Forward& forward, const Batch& batch,
                                    const BatchOrigin& origin);

/// Throws Error(kData) naming the first sample of an input or of the target that holds NaN or an
/// infinity.
void check_batch_is_finite(const Batch& batch, const BatchOrigin& origin);

/// Throws Error(kData) for a set without samples.
void check_not_empty(const Dataset& data, const std::string& name);

/// For a stored module that fails on example inputs: Error(kModel) with what it was given and said.
[[noreturn]] void throw_not_runnable(const std::string& name, const std::vector<at::Tensor>& inputs,
                                     const std::exception& error);

/// "float32 [64, 3, 32, 32], int64 [64, 16]"
std::string describe_tensors(const std::vector<at::Tensor>& tensors);

}  // namespace edgecompress
