#include "fuzz/read_whole.h"

#include <ATen/ATen.h>

#include <numeric>
#include <stdexcept>

namespace edgecompress::fuzz {

namespace {

constexpr std::int64_t kMostSamples = 4096;

void check(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

}  // namespace

void read_whole(const Dataset& dataset) {
  std::vector<std::int64_t> indices(
      static_cast<std::size_t>(std::min(dataset.size(), kMostSamples)));
  std::iota(indices.begin(), indices.end(), 0);
  const Batch batch = dataset.read(indices, 1);
  check(batch.size == static_cast<std::int64_t>(indices.size()), "a batch of another size");
  check(!batch.inputs.empty(), "a batch without inputs");
  for (const at::Tensor& input : batch.inputs) {
    check(input.dim() > 0 && input.size(0) == batch.size, "an input of another size");
    touch(input);
  }
  check(batch.target.defined() == dataset.has_target(), "a target, or none");
  if (!batch.target.defined()) return;
  check(batch.target.size(0) == batch.size, "a target of another size");
  const auto type = batch.target.scalar_type();
  check(type == at::kLong || type == at::kFloat, "a target of another type");
  touch(batch.target);
}

void touch(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.contiguous();
  const auto* bytes = static_cast<const unsigned char*>(dense.data_ptr());
  volatile unsigned char sum = 0;
  for (std::size_t i = 0; i < dense.nbytes(); ++i) sum = sum + bytes[i];
}

}  // namespace edgecompress::fuzz
