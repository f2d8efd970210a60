// A data set held in memory: tensors whose first dimension counts the samples.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace edgecompress {

class TensorDataset : public Dataset {
 public:
  /// `inputs` (at least one) are [n, ...] each; `target`, if defined, is [n, ...] and is brought to
  /// the form that Batch promises by as_target(). Throws Error(kData) if the sizes differ. `name`
  /// begins every message.
  explicit TensorDataset(std::vector<at::Tensor> inputs, at::Tensor target = {},
                         const std::string& name = "tensors",
                         std::vector<std::filesystem::path> files = {});

  std::int64_t size() const override { return size_; }
  bool has_target() const override { return target_.defined(); }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override;
  std::optional<LabelRange> label_range() const override { return label_range_; }
  std::vector<std::filesystem::path> files() const override { return files_; }

 private:
  std::vector<at::Tensor> inputs_;
  at::Tensor target_;
  std::int64_t size_ = 0;
  std::optional<LabelRange> label_range_;
  std::vector<std::filesystem::path> files_;
};

/// A target as Batch promises it: integers (and booleans) become int64, with [n, 1] taken as [n];
/// floating point becomes float32. Throws Error(kData) beginning with `name` for any other type.
at::Tensor as_target(const at::Tensor& target, const std::string& name);

/// Smallest and largest id of a target in that form; none for one that is empty, floating point or
/// undefined.
std::optional<Dataset::LabelRange> label_range_of(const at::Tensor& target);

}  // namespace edgecompress
