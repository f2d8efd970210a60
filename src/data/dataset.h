// Samples by index, read lazily, and the batches made of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "recipe/recipe.h"
#include "util/random.h"

namespace edgecompress {

struct Batch {
  std::vector<at::Tensor> inputs;  ///< each [n, ...]
  at::Tensor target;  ///< [n] int64 class ids, or [n, ...] float; undefined without labels
  std::int64_t size = 0;
  /// Which samples of the set a Loader read them from. Whoever mixes samples leaves this empty.
  std::vector<std::int64_t> indices = {};
  /// Where samples were mixed two by two: the targets of the second ones, and the second ones'
  /// share of each sample.
  at::Tensor other_target = {};
  double other_share = 0;
};

/// A set of samples. Reading is const and may run in another thread.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  virtual bool has_target() const = 0;
  /// Samples `indices` (each in [0, size)), stacked. `seed` feeds training-only transforms, so a
  /// batch is the same whoever reads it and whenever. Throws Error(kData) naming file and sample.
  virtual Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const = 0;
  /// Whether another seed gives other inputs: a training-only transform acts on them.
  virtual bool is_augmented() const { return false; }
  /// Class names, if the source knows them (folders).
  virtual std::vector<std::string> class_names() const { return {}; }
  /// What the target looks like, without reading the inputs: largest and smallest class id, of
  /// all samples of the source where this is a part of it.
  struct LabelRange {
    std::int64_t low = 0, high = 0;
  };
  virtual std::optional<LabelRange> label_range() const { return std::nullopt; }
  /// The files it reads, for fingerprints.
  virtual std::vector<std::filesystem::path> files() const { return {}; }
};

/// The sets of a run. Absent ones are null.
struct DataSets {
  std::shared_ptr<const Dataset> train, calibration, validation, test;
  std::int64_t train_batch = 64, calibration_batch = 64, validation_batch = 64, test_batch = 64;
  std::vector<std::string> notes;  ///< "no validation set: choices are made on test"

  /// Where choices are made: validation, else test, else train; null without any.
  std::shared_ptr<const Dataset> for_choices() const;
  std::int64_t for_choices_batch() const;
  std::string for_choices_name() const;
};

/// Opens every set of the recipe: sources, splits, limits, transforms. Splits are seeded by
/// `recipe.seed`; a set taken `from` another with `split` is disjoint from what remains of it.
/// A set without transforms of its own has those of the set it is taken from; training-only
/// transforms act on `train` alone, and only if it says `augment`. `calibration`, if not given, is
/// 256 samples of train, else of validation, without labels. Throws Error(kData), or Error(kRecipe)
/// for sets that refer to each other in a circle.
DataSets open_data(const Recipe& recipe);
/// One set on its own.
std::shared_ptr<const Dataset> open_dataset(const DatasetSpec& spec,
                                            const std::filesystem::path& base, std::uint64_t seed,
                                            bool is_training);

/// Batches of one pass over a set, in index order or in a seeded order, read ahead by one thread.
class Loader {
 public:
  /// `shuffle_seed` 0: index order. The order and the augmentation of epoch `epoch` depend on
  /// nothing else. The last batch may be smaller unless `drop_last`. The first `skipped` batches
  /// are left out.
  Loader(std::shared_ptr<const Dataset> dataset, std::int64_t batch_size,
         std::uint64_t shuffle_seed = 0, std::int64_t epoch = 0, bool drop_last = false,
         std::int64_t skipped = 0);
  ~Loader();
  /// Of the whole pass, those left out included.
  std::int64_t batches() const;
  /// The next batch, or false at the end. Throws what the reading threw.
  bool next(Batch& batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgecompress
