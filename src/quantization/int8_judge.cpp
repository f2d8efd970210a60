#include "quantization/int8_judge.h"

#include "eval/sqnr.h"
#include "int8/int8_rewrite.h"
#include "train/held_out_calibration.h"
#include "train/output_error.h"

namespace edgecompress {

Int8Judge::Int8Judge(const DataSets& data, Progress& progress)
    : samples_(hold_out_calibration(data, /*most=*/512).held_out),
      batch_size_(data.calibration_batch),
      progress_(progress) {}

double Int8Judge::sqnr_db(const Model& model, const Int8Scheme& scheme) const {
  Model int8 = model.clone();
  rewrite_static_int8(int8, scheme.on(int8));
  return edgecompress::sqnr_db(1, output_error(model, int8, samples_, batch_size_, progress_));
}

}  // namespace edgecompress
