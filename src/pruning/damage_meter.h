// What a change of some weights does to a network's outputs, without labels.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "model/model.h"

namespace edgecompress {

/// Holds the network's outputs for a few calibration samples, to compare others with.
class DamageMeter {
 public:
  /// At most `samples` (to the next whole batch), and fewer where their outputs would be more than
  /// 256 MiB. The model must outlive it. Throws Error(kData) for data that can't be read.
  DamageMeter(Model& model, const DataSets& data, std::int64_t samples);

  /// sum |y' - y|^2 / sum |y|^2 over all outputs, y' being those with these tensors (by name)
  /// instead of the model's own; the sum above alone where y is 0. The model is left as it was.
  double damage(const std::map<std::string, at::Tensor>& replaced);

 private:
  Model& model_;
  std::vector<std::vector<at::Tensor>> inputs_, references_;
  double signal_ = 0;
};

}  // namespace edgecompress
