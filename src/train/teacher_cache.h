// What teachers say of each sample of a data set, kept on disk so that they are asked once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/dataset.h"
#include "util/progress.h"
#include "util/scratch_file.h"

namespace edgecompress {

/// Inputs of a batch -> tensors [n, ...], of which the rows of a sample hang on the sample alone.
using AskTeachers = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs)>;

/// Memory holds one batch at a time.
class TeacherCache {
 public:
  /// Bytes that `samples` samples need; `answer` is that of any batch.
  static std::int64_t bytes(const std::vector<at::Tensor>& answer, std::int64_t samples);

  /// Asks for every sample of `data`, in the set's order, and writes the answers to `file`, which
  /// must have room for them. Throws Error(kOutput).
  TeacherCache(const AskTeachers& ask, std::shared_ptr<const Dataset> data, std::int64_t batch_size,
               std::unique_ptr<ScratchFile> file, Progress& progress);

  /// The answers for these samples, stacked.
  std::vector<at::Tensor> read(c10::ArrayRef<std::int64_t> samples) const;

 private:
  struct Part {
    std::vector<std::int64_t> sizes;  ///< of one sample
    c10::ScalarType type;
    std::int64_t offset, bytes;  ///< in the record of a sample
  };
  void describe(const std::vector<at::Tensor>& answer);

  std::unique_ptr<ScratchFile> file_;
  std::vector<Part> parts_;
  std::int64_t record_bytes_ = 0;
};

}  // namespace edgecompress
