#include "data/views.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>

#include "data/tensor_dataset.h"
#include "edgecompress/error.h"

namespace edgecompress {
namespace {

at::Tensor join_samples(const std::vector<at::Tensor>& samples, const std::string& name) {
  for (const auto& sample : samples)
    if (sample.sizes() != samples[0].sizes())
      throw Error(ExitCode::kData,
                  fmt::format("{}: samples of different shapes after the transforms that set sizes "
                              "(one is {}, another {})",
                              name, fmt::join(samples[0].sizes().slice(1), "x"),
                              fmt::join(sample.sizes().slice(1), "x")),
                  "resize to a fixed [height, width], or crop after resizing: {\"center_crop\": "
                  "{\"size\": 224}}");
  return at::cat(samples);
}

}  // namespace

SubsetDataset::SubsetDataset(std::shared_ptr<const Dataset> base, std::vector<std::int64_t> indices)
    : base_(std::move(base)), indices_(std::move(indices)) {}

Batch SubsetDataset::read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const {
  std::vector<std::int64_t> in_base;
  in_base.reserve(indices.size());
  for (const auto index : indices) in_base.push_back(indices_.at(index));
  return base_->read(in_base, seed);
}

TransformedDataset::TransformedDataset(std::shared_ptr<const Dataset> base,
                                       std::vector<Transform> transforms, std::string name)
    : base_(std::move(base)), transforms_(std::move(transforms)), name_(std::move(name)) {
  for (std::size_t i = 0; i < transforms_.size(); ++i)
    if (transforms_[i].sets_size) sized_from_ = i + 1;
}

Batch TransformedDataset::read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const {
  try {
    auto batch = sized_from_ == 0 ? base_->read(indices, seed) : read_one_by_one(indices, seed);
    apply(batch, sized_from_, transforms_.size(), indices, seed);
    return batch;
  } catch (const c10::Error& error) {
    throw Error(ExitCode::kData, fmt::format("{}: {}", name_, error.what_without_backtrace()),
                "check the data set's transforms against the shape and type of its samples");
  }
}

bool TransformedDataset::is_augmented() const {
  return base_->is_augmented() ||
         std::any_of(transforms_.begin(), transforms_.end(),
                     [](const Transform& transform) { return transform.is_training_only; });
}

Batch TransformedDataset::read_one_by_one(c10::ArrayRef<std::int64_t> indices,
                                          std::uint64_t seed) const {
  std::vector<std::vector<at::Tensor>> inputs;
  std::vector<at::Tensor> targets;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const auto index = indices.slice(i, 1);
    auto sample = base_->read(index, seed);
    apply(sample, 0, sized_from_, index, seed);
    inputs.resize(sample.inputs.size());
    for (std::size_t input = 0; input < inputs.size(); ++input)
      inputs[input].push_back(sample.inputs[input]);
    if (sample.target.defined()) targets.push_back(sample.target);
  }
  Batch batch;
  batch.size = static_cast<std::int64_t>(indices.size());
  for (const auto& samples : inputs) batch.inputs.push_back(join_samples(samples, name_));
  if (!targets.empty()) batch.target = at::cat(targets);
  return batch;
}

void TransformedDataset::apply(Batch& batch, std::size_t first, std::size_t last,
                               c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const {
  for (auto i = first; i < last; ++i) {
    std::vector<std::uint64_t> seeds;
    if (transforms_[i].is_training_only) {
      const auto transform_seed = derive_seed(seed, "transform", i);
      for (const auto index : indices)
        seeds.push_back(derive_seed(transform_seed, transforms_[i].name, index));
    }
    try {
      batch.inputs[0] = transforms_[i].apply(batch.inputs[0], seeds);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: {}", name_, error.what()), error.hint());
    }
  }
}

MappedLabelsDataset::MappedLabelsDataset(std::shared_ptr<const Dataset> base,
                                         const std::vector<std::int64_t>& classes, std::string name)
    : base_(std::move(base)), classes_(at::tensor(classes, at::kLong)), name_(std::move(name)) {
  if (const auto found = base_->label_range()) check(*found);
  label_range_ = *label_range_of(classes_);
}

Batch MappedLabelsDataset::read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const {
  Batch batch = base_->read(indices, seed);
  const auto found = label_range_of(batch.target);
  if (!found)
    throw Error(ExitCode::kData, name_ + ": map_labels needs class ids, but the target holds none",
                "leave map_labels out, or name a target of integers");
  check(*found);
  batch.target = classes_.index_select(0, batch.target.flatten()).view_as(batch.target);
  return batch;
}

void MappedLabelsDataset::check(const LabelRange& found) const {
  if (found.low >= 0 && found.high < classes_.numel()) return;
  throw Error(
      ExitCode::kData,
      fmt::format("{}: map_labels says what becomes of classes 0 to {}, but labels run from "
                  "{} to {}",
                  name_, classes_.numel() - 1, found.low, found.high),
      "give map_labels one entry for each class id");
}

UnlabelledDataset::UnlabelledDataset(std::shared_ptr<const Dataset> base)
    : base_(std::move(base)) {}

Batch UnlabelledDataset::read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const {
  auto batch = base_->read(indices, seed);
  batch.target = at::Tensor();
  return batch;
}

}  // namespace edgecompress
