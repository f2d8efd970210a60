// Which operators give other bits with another number of threads. LibTorch splits some sums among
// its threads, and sums of floating-point numbers hang on their order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"

namespace edgecompress {

/// Names ("aten::conv2d") of the network's operators whose outputs or, with `gradients`, gradients
/// differ between one thread and `threads`, on an example batch of so many samples; sorted, each
/// once. Found by running every node by itself both ways, so it takes as long as a few forward (and
/// backward) passes; random operators don't count. Empty where the inputs are not known.
std::vector<std::string> thread_dependent_operators(const Model& model, std::int64_t batch_size,
                                                    std::int64_t threads, bool gradients);

}  // namespace edgecompress
