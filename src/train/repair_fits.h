// What repair changes: single layers and batch norms, each fitted to what it sees in the network
// before the removal and in the one after it.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/channel_groups.h"
#include "model/model.h"

namespace edgecompress {

/// What a removal left of the dimensions of tensors.
class KeptPositions {
 public:
  KeptPositions(const ChannelGroups& groups, const UnitChoice& removed);

  /// int64, ascending, of a dimension that had `size`.
  at::Tensor of(const std::string& tensor, std::int64_t dim, std::int64_t size) const;
  /// Whether the tensor multiplies with channels that are gone.
  bool is_consumer(const std::string& tensor) const { return consumers_.count(tensor) > 0; }

 private:
  std::map<std::pair<std::string, std::int64_t>, std::set<std::int64_t>> gone_;
  std::set<std::string> consumers_;
};

/// One node in both networks, and tensors of the network after the removal that are fitted there.
class RepairFit {
 public:
  virtual ~RepairFit() = default;

  /// `share`: of all that will be seen, this batch's. `output` is the node's in the network before.
  virtual void see(const at::Tensor& input_before, const at::Tensor& output_before,
                   const at::Tensor& input_after, double share) = 0;
  /// Writes into the tensors by what was seen; false if nothing came of it.
  virtual bool apply() = 0;

  const torch::jit::Node *before = nullptr, *after = nullptr;
  std::vector<at::Tensor> tensors;  ///< that apply() writes into
};

/// Reconstruction of layers that lost inputs, or of all where whole layers are gone, in execution
/// order; `notes` tells which can't be.
std::vector<std::unique_ptr<RepairFit>> layer_fits(const Model& before, const Model& after,
                                                   const KeptPositions& kept,
                                                   std::vector<std::string>& notes);
/// Running statistics of batch norms, in execution order.
std::vector<std::unique_ptr<RepairFit>> batch_norm_fits(const Model& before, const Model& after,
                                                        const KeptPositions& kept);

}  // namespace edgecompress
