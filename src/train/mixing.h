// Samples mixed two by two, so that a network learns what lies between them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "recipe/options.h"

namespace edgecompress {

struct MixingOptions {
  std::string name = "mixup";   ///< mixup, cutmix
  std::optional<double> alpha;  ///< null: 0.2 (mixup), 1 (cutmix)
};
Options<MixingOptions> mixing_options();

/// Mixes every sample of the batch with another one of it. With a share s drawn for the whole batch
/// from Beta(alpha, alpha):
///   mixup   x = (1 - s) x_i + s x_j                     (Zhang et al. 2018, "mixup: Beyond
///           Empirical Risk Minimization")
///   cutmix  x_i with a random box of x_j, of s of the picture's area before it is clipped at the
///           picture's edge; s is then what the box really covers   (Yun et al. 2019, "CutMix")
/// The targets of the x_j and s are left in `other_target` and `other_share`; what the samples were
/// is forgotten. The same seed draws the same. Throws Error(kPass) for inputs that are not floating
/// point or, with cutmix, no pictures [n, c, h, w], and for targets that hold more than one class a
/// sample.
void mix(Batch& batch, const MixingOptions& options, std::uint64_t seed);

}  // namespace edgecompress
