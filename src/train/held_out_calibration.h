// Calibration samples that nothing is fitted to, so that what was fitted can be judged.
#pragma once

#include <cstdint>
#include <memory>

#include "data/dataset.h"

namespace edgecompress {

/// Calibration samples in two parts: those to fit to, and every fourth, held out. With
/// fewer than 8 samples both are all of them.
struct HeldOutCalibration {
  std::shared_ptr<const Dataset> fitted, held_out;
};
/// Of at most `most` samples, spread evenly. Throws Error(kData) without calibration data.
HeldOutCalibration hold_out_calibration(const DataSets& data, std::int64_t most);

}  // namespace edgecompress
