// The network of the demonstration, written as TorchScript text.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <cstdint>

namespace edgecompress {

/// A residual CNN of 83 thousand parameters, untrained: float32 [n, 3, 32, 32] -> class scores
/// [n, classes]. Weights drawn as He et al. 2015, "Delving Deep into Rectifiers", from `seed`.
torch::jit::Module demo_network(std::int64_t classes, std::uint64_t seed);

}  // namespace edgecompress
