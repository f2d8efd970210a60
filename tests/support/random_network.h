// Random small networks, for properties that must hold of any.
#pragma once

#include "support/text_network.h"

namespace edgecompress::testing {

/// Convolutions, norms, joins, splits, reshapes, attention, recurrent layers and so on, about
/// `steps` of them, in an order that the seed decides. Some have every size baked in as tracing
/// does, and so run at their example's batch size only.
TextNetwork make_random_network(std::uint64_t seed, int steps);

}  // namespace edgecompress::testing
