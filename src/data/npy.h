// Arrays in NumPy's .npy format, read sample by sample.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/bytes.h"
#include "data/dataset.h"

namespace edgecompress {

struct NpyHeader {
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
  bool is_fortran = false;       ///< first dimension fastest
  std::int64_t data_offset = 0;  ///< where the values begin
  std::int64_t bytes_of_values() const;
};

/// Reads the header of versions 1 to 3. Throws Error(kData) naming `bytes` for a wrong magic or
/// syntax, a type that LibTorch has no equal of, more dimensions or values than can be, and fewer
/// bytes than the header claims.
NpyHeader read_npy_header(const Bytes& bytes);

/// An array whose first dimension counts the samples. C order is read lazily, Fortran order is
/// brought to memory and turned at once.
class NpyArray {
 public:
  explicit NpyArray(std::shared_ptr<const Bytes> bytes);
  std::int64_t size() const { return header_.shape[0]; }
  /// Samples `indices`, stacked.
  at::Tensor read(c10::ArrayRef<std::int64_t> indices) const;
  at::Tensor read_whole() const;
  std::string name() const { return bytes_->name(); }

 private:
  std::shared_ptr<const Bytes> bytes_;
  NpyHeader header_;
  at::Tensor turned_;  ///< the values of a Fortran-order array, else undefined
};

/// Arrays as a data set: inputs lazily, the target whole. Throws Error(kData) if sizes differ.
std::shared_ptr<const Dataset> npy_dataset(std::vector<NpyArray> inputs, const NpyArray* target,
                                           std::vector<std::filesystem::path> files);

}  // namespace edgecompress
