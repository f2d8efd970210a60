// What repair changes: single layers and batch norms, each fitted to what it sees in the network
// before the removal and in the one after it.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"
#include "pruning/kept_positions.h"

namespace edgecompress {

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
/// A layer of the network after that gives what another one gave before: their weights.
struct StandIn {
  std::string before, after;
};
/// Reconstruction of what each one stands in for, in execution order; `notes` tells which can't be.
std::vector<std::unique_ptr<RepairFit>> stand_in_fits(const Model& before, const Model& after,
                                                      const std::vector<StandIn>& stand_ins,
                                                      std::vector<std::string>& notes);
/// Running statistics of batch norms, in execution order.
std::vector<std::unique_ptr<RepairFit>> batch_norm_fits(const Model& before, const Model& after,
                                                        const KeptPositions& kept);

}  // namespace edgecompress
