// The thread count of a measurement, undone at its end.
#pragma once

#include <ATen/Parallel.h>

#include <cstdint>

#include "model/runtime.h"

namespace edgecompress {

class ThreadScope {
 public:
  explicit ThreadScope(std::int64_t threads) : previous_(at::get_num_threads()) {
    set_threads(threads);
  }
  ~ThreadScope() { set_threads(previous_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  std::int64_t previous_;
};

}  // namespace edgecompress
