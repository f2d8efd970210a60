#include "train/weights.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace edgecompress {
namespace {

std::vector<at::Tensor> copies_of(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : tensors) copies.push_back(tensor.detach().clone());
  return copies;
}

void copy_into(const std::vector<at::Tensor>& tensors, const std::vector<at::Tensor>& values) {
  for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].detach().copy_(values[i]);
}

}  // namespace

std::vector<at::Tensor> moving_tensors(const Model& model,
                                       const std::vector<at::Tensor>& parameters) {
  std::vector<at::Tensor> tensors = parameters;
  for (const auto& buffer : model.module().buffers()) tensors.push_back(buffer);
  return tensors;
}

void Snapshot::take() { copies_ = copies_of(live_); }

void Snapshot::restore() const { copy_into(live_, copies_); }

WeightAverage::WeightAverage(std::vector<at::Tensor> live, double decay)
    : live_(std::move(live)), averages_(copies_of(live_)), decay_(decay) {}

void WeightAverage::update(std::int64_t step) {
  const at::NoGradGuard no_grad;
  const auto t = static_cast<double>(step);
  const double decay = std::min(decay_, (1 + t) / (10 + t));
  for (std::size_t i = 0; i < live_.size(); ++i) {
    if (live_[i].is_floating_point()) {
      averages_[i].lerp_(live_[i].detach(), 1 - decay);
    } else {
      averages_[i].copy_(live_[i]);
    }
  }
}

void WeightAverage::settle() const { copy_into(live_, averages_); }

void WeightAverage::InPlace::exchange() {
  if (average_ == nullptr) return;
  const std::vector<at::Tensor> before = copies_of(average_->live_);
  copy_into(average_->live_, average_->averages_);
  copy_into(average_->averages_, before);
}

}  // namespace edgecompress
