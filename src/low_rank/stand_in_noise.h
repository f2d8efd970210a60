// How far a layer's outputs are, in a changed network, from those of the layer it stands in for.
#pragma once

#include <optional>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"
#include "pruning/repair_fits.h"
#include "util/progress.h"

namespace edgecompress {

/// Signal-to-noise ratio in dB, by stand-in, on up to 32 of the calibration samples that nothing is
/// fitted to (held_out_calibration.h); what layers before it changed counts too. Nothing where the
/// data never reaches the layer. Throws Error(kData) without calibration data.
std::vector<std::optional<double>> stand_in_sqnr_db(const Model& before, const Model& after,
                                                    const std::vector<StandIn>& stand_ins,
                                                    const DataSets& data, Progress& progress);

}  // namespace edgecompress
