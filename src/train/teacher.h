// A network that is only listened to.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/inner_outputs.h"
#include "train/layout.h"

namespace torch::jit {
struct GraphExecutor;
}

namespace edgecompress {

/// Runs in eval mode and without gradients, as fast as it goes without measuring, since the same
/// run must give the same bytes: frozen, which folds batch norms into convolutions, and
/// channels-last where it gives the same outputs that way.
class Teacher {
 public:
  /// `layers`: whose values it gives besides its output, by name (inner_outputs.h). Throws as
  /// find_inner_value() does; `what` is for messages.
  Teacher(Model model, const std::vector<std::optional<std::string>>& layers,
          const std::vector<at::Tensor>& sample, const std::string& what);
  ~Teacher();

  struct Outputs {
    at::Tensor output;              ///< the first one
    std::vector<at::Tensor> inner;  ///< in the order of `layers`, channels second
  };
  Outputs operator()(const std::vector<at::Tensor>& inputs) const;

 private:
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs) const;

  Model model_;
  InnerOutputs inner_;
  ChannelsLast layout_;
  torch::jit::Module frozen_;
  std::unique_ptr<torch::jit::GraphExecutor> executor_;  // null: it can't be frozen
};

}  // namespace edgecompress
