#include "pruning/damage_meter.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace edgecompress {
namespace {

constexpr std::int64_t kReferenceBytes = std::int64_t{256} << 20;

double sum_of_squares(const at::Tensor& values) {
  return values.to(at::kDouble).square().sum().item<double>();
}

}  // namespace

DamageMeter::DamageMeter(Model& model, const DataSets& data, std::int64_t samples) : model_(model) {
  const at::NoGradGuard no_grad;
  samples = std::min(data.calibration->size(), samples);
  Loader loader(data.calibration, std::min(data.calibration_batch, samples));
  for (Batch batch; samples > 0 && loader.next(batch);) {
    inputs_.push_back(batch.inputs);
    references_.push_back(model.forward(batch.inputs));
    std::int64_t bytes = 0;
    for (const at::Tensor& output : references_.back()) {
      bytes += static_cast<std::int64_t>(output.nbytes());
      signal_ += sum_of_squares(output);
    }
    const std::int64_t affordable = kReferenceBytes / std::max<std::int64_t>(bytes, 1);
    const auto seen = static_cast<std::int64_t>(inputs_.size());
    samples = seen < affordable ? samples - batch.size : 0;
  }
}

double DamageMeter::damage(const std::map<std::string, at::Tensor>& replaced) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> originals;
  for (const auto& [name, weight] : replaced) {
    originals[name] = model_.tensor(name);
    model_.set_tensor(name, weight);
  }
  double error = 0;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const std::vector<at::Tensor> outputs = model_.forward(inputs_[i]);
    for (std::size_t j = 0; j < outputs.size(); ++j)
      error += sum_of_squares(outputs[j].to(at::kDouble) - references_[i][j]);
  }
  for (const auto& [name, weight] : originals) model_.set_tensor(name, weight);
  return signal_ > 0 ? error / signal_ : error;
}

}  // namespace edgecompress
