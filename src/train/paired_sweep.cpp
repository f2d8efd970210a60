#include "train/paired_sweep.h"

#include <algorithm>
#include <utility>

namespace edgecompress {

using torch::jit::Node;

namespace {

bool is_top_level(const Node* node) { return node->owningBlock() == node->owningGraph()->block(); }

}  // namespace

PairedSweep::PairedSweep(const Model& before, const Model& after,
                         std::shared_ptr<const Dataset> data, std::int64_t batch_size,
                         std::int64_t live_bytes)
    : before_(before),
      after_(after),
      data_(std::move(data)),
      batch_size_(batch_size),
      live_bytes_(live_bytes) {
  runs_.resize(static_cast<std::size_t>((data_->size() + batch_size - 1) / batch_size));
}

bool PairedSweep::show(const Node* before, const Node* after,
                       const std::function<void(const PairedLayer&)>& visit) {
  if (!is_top_level(before) || !is_top_level(after) || !reach(0, before, after)) return false;
  const std::int64_t bytes = runs_[0]->before.live_bytes() + runs_[0]->after.live_bytes();
  const auto fitting = static_cast<std::size_t>(
      std::max<std::int64_t>(live_bytes_ / std::max<std::int64_t>(bytes, 1), 1));
  // What has started may stay a while above the bound, or it would start again and again.
  for (std::size_t i = 2 * fitting; i < runs_.size(); ++i) runs_[i].reset();
  std::size_t count = std::min(fitting, runs_.size());
  while (count < runs_.size() && runs_[count]) ++count;
  for (std::size_t i = 0; i < count; ++i) {
    if (!reach(i, before, after)) return false;
    const at::Tensor input_before = runs_[i]->before.inputs()[0].toTensor();
    visit({input_before, runs_[i]->before.step()[0].toTensor(), runs_[i]->after.inputs(),
           1 / static_cast<double>(count)});
  }
  return true;
}

/// Brings a batch to the nodes in both networks.
bool PairedSweep::reach(std::size_t batch, const Node* before, const Node* after) {
  auto& run = runs_[batch];
  if (!run) {
    std::vector<std::int64_t> samples;
    const auto first = static_cast<std::int64_t>(batch) * batch_size_;
    for (std::int64_t s = first; s < std::min(first + batch_size_, data_->size()); ++s)
      samples.push_back(s);
    const Batch read = data_->read(samples, /*seed=*/0);
    const std::vector<c10::IValue> inputs(read.inputs.begin(), read.inputs.end());
    run.emplace(Run{PausedRun(before_, inputs), PausedRun(after_, inputs)});
  }
  return run->before.advance_to(before) && run->after.advance_to(after);
}

}  // namespace edgecompress
