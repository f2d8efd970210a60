// How much has to be removed from a network until it is as fast as asked: by measuring.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace edgecompress {

struct LatencyMeasurement {
  std::int64_t count = 0;  ///< of removals
  double share = 1;        ///< of the latency that is left after them
};

struct LatencySearch {
  std::int64_t count = 0;  ///< how many of the removals in order
  double share = 1;    ///< of the latency that is left after them: the median of what was measured
  bool is_met = true;  ///< false: not even all of them suffice
  std::vector<LatencyMeasurement> measurements;  ///< all that were made, in order
};

/// The smallest count in [0, most] that leaves at most the share `target` of the latency, by
/// bisection: latency is taken to fall as more is removed. `share_without(count)` measures.
///
/// No single measurement is believed that would end the search, but two that agree within 2 % of
/// the whole, or the median of three. It ends with a count that is within 1 % of the whole below
/// the target, since the machine's noise is no smaller; or next to which (within 1 % of `most`)
/// another was found too slow. Where measuring again says otherwise, the search goes back to where
/// it was before. It measures at most 14 times.
LatencySearch search_latency(std::int64_t most, double target,
                             const std::function<double(std::int64_t count)>& share_without);

}  // namespace edgecompress
