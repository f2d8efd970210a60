// Memory that stays with the process between two steps of a training or a calibration.
#pragma once

namespace edgecompress {

/// While it lives, freed memory is kept for the next step, which needs the same blocks again,
/// instead of being returned to the system and fetched, zeroed page by page, once more: glibc gives
/// every large block (an activation) back at once. After it, what is free goes back. Where the C
/// library is another one, it does nothing.
class SteadyHeap {
 public:
  SteadyHeap();
  ~SteadyHeap();
  SteadyHeap(const SteadyHeap&) = delete;
  SteadyHeap& operator=(const SteadyHeap&) = delete;
};

}  // namespace edgecompress
