#include "train/teacher_cache.h"

#include <ATen/ATen.h>

#include <utility>

namespace edgecompress {

namespace {

std::int64_t bytes_of_a_sample(const at::Tensor& values) {
  return values.numel() / values.size(0) * static_cast<std::int64_t>(values.element_size());
}

/// [n, bytes of a sample]
at::Tensor as_bytes(const at::Tensor& values) {
  return values.reshape({values.size(0), -1}).contiguous().view(at::kByte);
}

}  // namespace

std::int64_t TeacherCache::bytes(const std::vector<at::Tensor>& answer, std::int64_t samples) {
  std::int64_t record = 0;
  for (const at::Tensor& values : answer) record += bytes_of_a_sample(values);
  return record * samples;
}

TeacherCache::TeacherCache(const AskTeachers& ask, std::shared_ptr<const Dataset> data,
                           std::int64_t batch_size, std::unique_ptr<ScratchFile> file,
                           Progress& progress)
    : file_(std::move(file)) {
  progress.begin("teacher", data->size());
  Loader loader(std::move(data), batch_size);
  std::int64_t written = 0;
  for (Batch batch; loader.next(batch);) {
    const std::vector<at::Tensor> answer = ask(batch.inputs);
    if (parts_.empty()) describe(answer);
    std::vector<at::Tensor> columns;
    for (const at::Tensor& values : answer) columns.push_back(as_bytes(values));
    const at::Tensor records = at::cat(columns, 1);
    file_->write(written, records.data_ptr(), records.numel());
    written += records.numel();
    progress.advance(batch.size);
  }
  progress.end();
}

std::vector<at::Tensor> TeacherCache::read(c10::ArrayRef<std::int64_t> samples) const {
  const auto n = static_cast<std::int64_t>(samples.size());
  const at::Tensor records = at::empty({n, record_bytes_}, at::kByte);
  auto* to = static_cast<std::uint8_t*>(records.data_ptr());
  for (const std::int64_t sample : samples) {
    file_->read(sample * record_bytes_, to, record_bytes_);
    to += record_bytes_;
  }
  std::vector<at::Tensor> answer;
  for (const Part& part : parts_) {
    std::vector<std::int64_t> sizes = part.sizes;
    sizes.insert(sizes.begin(), n);
    const at::Tensor column =
        records.narrow(1, part.offset, part.bytes).clone(at::MemoryFormat::Contiguous);
    answer.push_back(column.view(part.type).view(sizes));
  }
  return answer;
}

void TeacherCache::describe(const std::vector<at::Tensor>& answer) {
  for (const at::Tensor& values : answer) {
    const std::int64_t bytes = bytes_of_a_sample(values);
    parts_.push_back({values.sizes().slice(1).vec(), values.scalar_type(), record_bytes_, bytes});
    record_bytes_ += bytes;
  }
}

}  // namespace edgecompress
