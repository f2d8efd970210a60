#include "train/held_out_calibration.h"

#include <algorithm>
#include <vector>

#include "data/views.h"
#include "edgecompress/error.h"

namespace edgecompress {

HeldOutCalibration hold_out_calibration(const DataSets& data, std::int64_t most) {
  constexpr std::int64_t kFewestToHoldOut = 8;
  const auto& all = data.calibration;
  if (all == nullptr || all->size() == 0) {
    throw Error(ExitCode::kData, "there are no calibration samples",
                "give the recipe a data.calibration");
  }
  const std::int64_t count = std::min(all->size(), most);
  std::vector<std::int64_t> fitted, held_out;
  for (std::int64_t i = 0; i < count; ++i) {
    const bool is_held_out = count >= kFewestToHoldOut && i % 4 == 3;
    (is_held_out ? held_out : fitted).push_back(i * all->size() / count);
  }
  HeldOutCalibration parts;
  parts.fitted = std::make_shared<SubsetDataset>(all, fitted);
  parts.held_out = held_out.empty() ? parts.fitted : std::make_shared<SubsetDataset>(all, held_out);
  return parts;
}

}  // namespace edgecompress
