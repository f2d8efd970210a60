// What calibration finds for a small network, for tests of what is made of it.
#pragma once

#include <memory>

#include "data/dataset.h"
#include "int8/int8_scheme.h"
#include "model/model.h"

namespace edgecompress::testing {

/// Folds the model's batch norms and removes its dropouts, then plans every layer, by the smallest
/// and largest values of `data` and 7-bit weights per output channel.
Int8Scheme make_int8_scheme(Model& model, std::shared_ptr<const Dataset> data);

}  // namespace edgecompress::testing
