#include "train/int8_judge.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "model/int8_rewrite.h"
#include "train/held_out_calibration.h"

namespace edgecompress {

Int8Judge::Int8Judge(const DataSets& data, Progress& progress)
    : samples_(hold_out_calibration(data, /*most=*/512).held_out),
      batch_size_(data.calibration_batch),
      progress_(progress) {}

double Int8Judge::sqnr_db(const Model& model, const Int8Scheme& scheme) const {
  constexpr double kMostDb = 200;
  const c10::InferenceMode inference;
  Model int8 = model.clone();
  rewrite_static_int8(int8, scheme.on(int8));
  double wrong = 0, all = 0;
  progress_.begin("measure", samples_->size());
  Loader loader(samples_, batch_size_);
  for (Batch batch; loader.next(batch);) {
    const auto expected = model.forward(batch.inputs), found = int8.forward(batch.inputs);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (!expected[i].is_floating_point()) continue;
      const at::Tensor y = expected[i].to(at::kDouble);
      wrong += (found[i].to(at::kDouble) - y).square().sum().item<double>();
      all += y.square().sum().item<double>();
    }
    progress_.advance(batch.size);
  }
  progress_.end();
  return wrong > 0 && all > 0 ? std::min(10 * std::log10(all / wrong), kMostDb) : kMostDb;
}

}  // namespace edgecompress
