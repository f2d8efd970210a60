// Data sets seen through another: some of its samples, transformed samples, samples without labels.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/transforms.h"

namespace edgecompress {

/// The samples `indices` of `base`, in that order.
class SubsetDataset : public Dataset {
 public:
  SubsetDataset(std::shared_ptr<const Dataset> base, std::vector<std::int64_t> indices);
  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  bool has_target() const override { return base_->has_target(); }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override;
  bool is_augmented() const override { return base_->is_augmented(); }
  std::vector<std::string> class_names() const override { return base_->class_names(); }
  std::optional<LabelRange> label_range() const override { return base_->label_range(); }
  std::vector<std::filesystem::path> files() const override { return base_->files(); }

 private:
  std::shared_ptr<const Dataset> base_;
  std::vector<std::int64_t> indices_;
};

/// `base` with transforms on its first input. What a training-only transform does to a sample hangs
/// on the seed of the reading, the transform's place in the list and the sample's index, so it is
/// the same in any batch.
class TransformedDataset : public Dataset {
 public:
  TransformedDataset(std::shared_ptr<const Dataset> base, std::vector<Transform> transforms,
                     std::string name);
  std::int64_t size() const override { return base_->size(); }
  bool has_target() const override { return base_->has_target(); }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override;
  bool is_augmented() const override;
  std::vector<std::string> class_names() const override { return base_->class_names(); }
  std::optional<LabelRange> label_range() const override { return base_->label_range(); }
  std::vector<std::filesystem::path> files() const override { return base_->files(); }

 private:
  Batch read_one_by_one(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const;
  /// Transforms first .. last-1, on samples that all have one shape.
  void apply(Batch& batch, std::size_t first, std::size_t last, c10::ArrayRef<std::int64_t> indices,
             std::uint64_t seed) const;

  std::shared_ptr<const Dataset> base_;
  std::vector<Transform> transforms_;
  std::size_t sized_from_ = 0;  ///< transforms before it see one sample at a time
  std::string name_;
};

/// `base` with class `classes[i]` where its class id is i. Throws Error(kData) beginning with
/// `name` for targets that are no class ids, and for an id beyond the list.
class MappedLabelsDataset : public Dataset {
 public:
  MappedLabelsDataset(std::shared_ptr<const Dataset> base, const std::vector<std::int64_t>& classes,
                      std::string name);
  std::int64_t size() const override { return base_->size(); }
  bool has_target() const override { return true; }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override;
  std::optional<LabelRange> label_range() const override { return label_range_; }
  std::vector<std::filesystem::path> files() const override { return base_->files(); }

 private:
  void check(const LabelRange& found) const;

  std::shared_ptr<const Dataset> base_;
  at::Tensor classes_;  ///< int64
  LabelRange label_range_;
  std::string name_;
};

/// `base` without its target, as calibration sees it.
class UnlabelledDataset : public Dataset {
 public:
  explicit UnlabelledDataset(std::shared_ptr<const Dataset> base);
  std::int64_t size() const override { return base_->size(); }
  bool has_target() const override { return false; }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override;
  bool is_augmented() const override { return base_->is_augmented(); }
  std::vector<std::filesystem::path> files() const override { return base_->files(); }

 private:
  std::shared_ptr<const Dataset> base_;
};

}  // namespace edgecompress
