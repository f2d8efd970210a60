// The sizes in a graph after channels are removed: what every tensor will measure, and what the
// numbers that ops are given (view, split, slice, groups) must become.
#pragma once

#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "channels/channel_groups.h"

namespace edgecompress::channels {

/// One recorded run as it would be without the removed cells.
class ShrunkRun {
 public:
  ShrunkRun(const ChannelFlow& flow, const RecordedRun& run,
            const std::unordered_set<Cell>& removed);

  /// Nothing if the run has no such tensor.
  std::optional<std::vector<std::int64_t>> sizes(const torch::jit::Value* value) const;
  /// For each position along `dim` of the tensor as it was: does it stay?
  std::vector<bool> kept(const torch::jit::Value* value, std::int64_t dim) const;
  /// A number, list of numbers or scalar tensor computed from sizes and constants.
  std::optional<c10::IValue> evaluate(const torch::jit::Value* value) const;
  std::optional<std::int64_t> evaluate_int(const torch::jit::Value* value) const;

 private:
  std::optional<c10::IValue> compute(const torch::jit::Value* value) const;
  std::optional<c10::IValue> run_node(const torch::jit::Value* value) const;

  const ChannelFlow& flow_;
  const std::unordered_set<Cell>& removed_;
  std::unordered_map<const torch::jit::Value*, std::vector<std::int64_t>> sizes_before_;
  std::unordered_map<const torch::jit::Value*, c10::IValue> numbers_before_;
  mutable std::unordered_map<const torch::jit::Value*, std::optional<c10::IValue>> numbers_;
};

/// Rewrites the numbers in the graph that are not right by themselves. The model's tensors must
/// have their new shapes already.
void rewrite_sizes(Model& model, const ChannelGroups& groups,
                   const std::unordered_set<Cell>& removed);

}  // namespace edgecompress::channels
