#include "data/tensor_dataset.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "edgecompress/error.h"

namespace edgecompress {

TensorDataset::TensorDataset(std::vector<at::Tensor> inputs, at::Tensor target,
                             const std::string& name, std::vector<std::filesystem::path> files)
    : inputs_(std::move(inputs)), files_(std::move(files)) {
  if (inputs_.empty()) throw Error(ExitCode::kData, fmt::format("{}: no input", name));
  for (const auto& input : inputs_)
    if (input.dim() == 0)
      throw Error(ExitCode::kData,
                  fmt::format("{}: an input is a scalar, expected [samples, ...]", name));
  size_ = inputs_[0].size(0);
  for (const auto& input : inputs_)
    if (input.size(0) != size_)
      throw Error(ExitCode::kData,
                  fmt::format("{}: inputs of {} and {} samples", name, size_, input.size(0)));
  if (!target.defined()) return;
  target_ = as_target(target, name);
  if (target_.dim() == 0 || target_.size(0) != size_)
    throw Error(ExitCode::kData, fmt::format("{}: {} samples, but {} targets", name, size_,
                                             target_.dim() == 0 ? 1 : target_.size(0)));
  label_range_ = label_range_of(target_);
}

Batch TensorDataset::read(c10::ArrayRef<std::int64_t> indices, std::uint64_t) const {
  const auto index = at::tensor(indices, at::kLong);
  Batch batch;
  batch.size = static_cast<std::int64_t>(indices.size());
  for (const auto& input : inputs_) batch.inputs.push_back(input.index_select(0, index));
  if (target_.defined()) batch.target = target_.index_select(0, index);
  return batch;
}

at::Tensor as_target(const at::Tensor& target, const std::string& name) {
  if (target.is_floating_point()) return target.to(at::kFloat);
  if (!at::isIntegralType(target.scalar_type(), /*includeBool=*/true))
    throw Error(ExitCode::kData,
                fmt::format("{}: targets of type {}, expected integers or floating point", name,
                            c10::toString(target.scalar_type())));
  const auto ids = target.to(at::kLong);
  return ids.dim() == 2 && ids.size(1) == 1 ? ids.squeeze(1) : ids;
}

std::optional<Dataset::LabelRange> label_range_of(const at::Tensor& target) {
  if (!target.defined() || target.scalar_type() != at::kLong || target.numel() == 0)
    return std::nullopt;
  return Dataset::LabelRange{target.min().item<std::int64_t>(), target.max().item<std::int64_t>()};
}

}  // namespace edgecompress
