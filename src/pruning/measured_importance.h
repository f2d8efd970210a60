// Importance of channels by criteria that data is run for; what they measure is told in
// model/channel_importance.h and model/derivative_importance.h.
#pragma once

#include <cstdint>

#include "channels/channel_importance.h"
#include "channels/derivative_importance.h"
#include "data/dataset.h"
#include "util/progress.h"

namespace edgecompress {

/// Over the whole calibration set. Throws Error(kData) without one.
UnitImportance activation_importance(const Model& model, const ChannelGroups& groups,
                                     ActivationCriterion criterion, const DataSets* data,
                                     Progress& progress);

/// Over up to 1024 samples of the training set, in an order of `seed`, by the loss that its target
/// asks for (losses.h). Throws Error(kData) without a set, Error(kPass) without a target.
UnitImportance derivative_importance(const Model& model, const ChannelGroups& groups,
                                     DerivativeCriterion criterion, const DataSets* data,
                                     std::uint64_t seed, Progress& progress);

}  // namespace edgecompress
