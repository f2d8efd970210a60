// What a reference model says about one data set, which every step of a run is compared with.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <vector>

#include "data/dataset.h"
#include "eval/evaluate.h"
#include "eval/metrics.h"

namespace edgecompress {

/// Outputs are kept in memory while they are small, so that the reference runs once and not once a
/// step; beyond the limit it runs again. The outputs are the same either way.
class ReferenceOutputs {
 public:
  static constexpr std::int64_t kDefaultLimit = std::int64_t{64} << 20;

  /// `limit_bytes` bounds all that is kept.
  explicit ReferenceOutputs(Forward forward, std::int64_t limit_bytes = kDefaultLimit);

  /// Those for one batch; `origin` must always name the same samples of the same data.
  std::vector<at::Tensor> of(const Batch& batch, const BatchOrigin& origin);

 private:
  Forward forward_;
  std::int64_t bytes_left_;
  std::map<std::int64_t, std::vector<at::Tensor>> kept_;  // by the batch's first sample
};

}  // namespace edgecompress
