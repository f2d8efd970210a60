#include "util/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

namespace edgecompress {

namespace {

/// The number in a file; one that is not there, or says "max", is no limit.
std::int64_t limit_in(const char* path) {
  std::ifstream file(path);
  std::int64_t bytes = 0;
  return file >> bytes ? bytes : std::numeric_limits<std::int64_t>::max();
}

// A container's share of the processors ("max 100000" or "150000 100000"); 0: no limit known.
std::int64_t cgroup_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(std::ceil(std::atof(quota.c_str()) / period)));
}

}  // namespace

std::int64_t usable_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::int64_t cores = std::max(1U, std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  const auto share = cgroup_cores();
  return share > 0 ? std::min(cores, share) : cores;
}

std::int64_t usable_memory_bytes() {
  const auto pages = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES));
  const auto page_bytes = static_cast<std::int64_t>(::sysconf(_SC_PAGESIZE));
  return std::min({pages * page_bytes, limit_in("/sys/fs/cgroup/memory.max"),
                   limit_in("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

}  // namespace edgecompress
