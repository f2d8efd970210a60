#include "train/output_error.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <utility>

namespace edgecompress {

double output_error(const Model& expected, const Model& found, std::shared_ptr<const Dataset> data,
                    std::int64_t batch_size, Progress& progress) {
  const c10::InferenceMode inference;
  double wrong = 0, all = 0;
  progress.begin("measure", data->size());
  Loader loader(std::move(data), batch_size);
  for (Batch batch; loader.next(batch);) {
    const auto y = expected.forward(batch.inputs), z = found.forward(batch.inputs);
    for (std::size_t i = 0; i < y.size(); ++i) {
      if (!y[i].is_floating_point()) continue;
      const at::Tensor wide = y[i].to(at::kDouble);
      wrong += (z[i].to(at::kDouble) - wide).square().sum().item<double>();
      all += wide.square().sum().item<double>();
    }
    progress.advance(batch.size);
  }
  progress.end();
  return all > 0 ? wrong / all : wrong;
}

}  // namespace edgecompress
