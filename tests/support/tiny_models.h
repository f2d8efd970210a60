// The networks of the contract suite, written as TorchScript text: one of each family, small enough
// to run in milliseconds, with seeded weights and batch-norm statistics that are not trivial.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "recipe/recipe.h"

namespace edgecompress::testing {

struct TinyModel {
  std::string name;
  torch::jit::Module module;  ///< in eval mode
  std::vector<InputSpec> inputs;
  std::int64_t classes = 4;  ///< the output is [n, classes]
};

/// "mlp", "cnn", "residual_cnn", "depthwise_cnn", "concat_cnn", "conv1d", "lstm", "gru",
/// "transformer".
const std::vector<std::string>& tiny_model_names();
TinyModel make_tiny_model(const std::string& name, std::uint64_t seed = 1);

/// `samples` samples that fit the model: normal inputs, and labels that the inputs decide (the sign
/// pattern of two projections), so that training on them can succeed.
std::shared_ptr<Dataset> make_tiny_data(const TinyModel& model, std::int64_t samples,
                                        std::uint64_t seed);

}  // namespace edgecompress::testing
