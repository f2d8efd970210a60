#include "train/steady_heap.h"

#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

namespace edgecompress {

#ifdef M_MMAP_THRESHOLD

namespace {

constexpr int kMebibyte = 1 << 20;

void set_thresholds(int mmap_mebibytes, int trim_mebibytes) {
  mallopt(M_MMAP_THRESHOLD, mmap_mebibytes * kMebibyte);
  mallopt(M_TRIM_THRESHOLD, trim_mebibytes * kMebibyte);
}

}  // namespace

SteadyHeap::SteadyHeap() { set_thresholds(1024, 2047); }

SteadyHeap::~SteadyHeap() {
  // Where glibc's own moving thresholds end up once a network has run.
  set_thresholds(32, 64);
  malloc_trim(0);
}

#else

SteadyHeap::SteadyHeap() = default;
SteadyHeap::~SteadyHeap() = default;

#endif

}  // namespace edgecompress
