// How near an INT8 network's outputs come to the float network's, on calibration samples.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/dataset.h"
#include "int8/int8_scheme.h"
#include "model/model.h"
#include "util/progress.h"

namespace edgecompress {

class Int8Judge {
 public:
  Int8Judge(const DataSets& data, Progress& progress);

  /// 10 log10(sum |y|^2 / sum |y' - y|^2) over all floating outputs of the held-out samples, at
  /// most 128: y of the model, y' of its INT8 form. 200 where they are equal.
  double sqnr_db(const Model& model, const Int8Scheme& scheme) const;

 private:
  std::shared_ptr<const Dataset> samples_;
  std::int64_t batch_size_;
  Progress& progress_;
};

}  // namespace edgecompress
