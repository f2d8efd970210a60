#include "train/int8_judge.h"

#include <algorithm>
#include <cmath>

#include "model/int8_rewrite.h"
#include "train/held_out_calibration.h"
#include "train/output_error.h"

namespace edgecompress {

Int8Judge::Int8Judge(const DataSets& data, Progress& progress)
    : samples_(hold_out_calibration(data, /*most=*/512).held_out),
      batch_size_(data.calibration_batch),
      progress_(progress) {}

double Int8Judge::sqnr_db(const Model& model, const Int8Scheme& scheme) const {
  constexpr double kMostDb = 200;
  Model int8 = model.clone();
  rewrite_static_int8(int8, scheme.on(int8));
  const double error = output_error(model, int8, samples_, batch_size_, progress_);
  return error > 0 ? std::min(-10 * std::log10(error), kMostDb) : kMostDb;
}

}  // namespace edgecompress
