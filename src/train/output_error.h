// How far one network's outputs are from another's.
#pragma once

#include <cstdint>
#include <memory>

#include "data/dataset.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

/// sum |y' - y|^2 / sum |y|^2 over all floating outputs of the samples: y of `expected`, y' of
/// `found`; the sum above alone where y is 0.
double output_error(const Model& expected, const Model& found, std::shared_ptr<const Dataset> data,
                    std::int64_t batch_size, Progress& progress);

}  // namespace edgecompress
