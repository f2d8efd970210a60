// Two networks run over the same data side by side, stopping at layers that they share, so that a
// layer can be fitted to what it sees after those before it were changed.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "data/dataset.h"
#include "model/interpreter.h"
#include "model/model.h"

namespace edgecompress {

/// A layer as one batch meets it. `before`: in the network that stays as it is; `after`: in the one
/// that is changed, whose node has not run yet.
struct PairedLayer {
  at::Tensor input_before, output_before;
  std::vector<c10::IValue> inputs_after;
  double share;  ///< of all that is shown of this layer, this batch's

  at::Tensor input_after() const { return inputs_after[0].toTensor(); }
};

class PairedSweep {
 public:
  /// The models and their graphs must outlive it and not be edited meanwhile; the values of the
  /// second one's tensors may change, in place, from stop to stop. Where what all samples hold at a
  /// stop would be more than `live_bytes`, the last of them wait at the beginning and catch up
  /// later: early layers, with many positions a sample, see fewer samples.
  PairedSweep(const Model& before, const Model& after, std::shared_ptr<const Dataset> data,
              std::int64_t batch_size, std::int64_t live_bytes = std::int64_t{512} << 20);

  /// Calls `visit` for as many batches as memory allows; false if a node can't be stopped at: it is
  /// in a nested block, or behind already. Stops must be in execution order.
  bool show(const torch::jit::Node* before, const torch::jit::Node* after,
            const std::function<void(const PairedLayer&)>& visit);

 private:
  struct Run {
    PausedRun before, after;
  };
  bool reach(std::size_t batch, const torch::jit::Node* before, const torch::jit::Node* after);

  Interpreter before_, after_;
  std::shared_ptr<const Dataset> data_;
  std::int64_t batch_size_, live_bytes_;
  std::vector<std::optional<Run>> runs_;  // by batch; those that wait are empty
};

}  // namespace edgecompress
