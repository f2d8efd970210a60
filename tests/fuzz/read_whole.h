// Every sample of a data set, and what a data set promises.
#pragma once

#include "data/dataset.h"

namespace edgecompress::fuzz {

/// Throws std::logic_error for a batch that is not as Batch says.
void read_whole(const Dataset& dataset);

/// Looks at every value, so that one outside of the memory it should be in is found.
void touch(const at::Tensor& tensor);

}  // namespace edgecompress::fuzz
