// A layer as two, with `rank` channels (of each group) between them.
//
//   linear   W [out, in]             [rank, in], then [out, rank]
//   conv     W [out, in / g, k...]   channel: [g rank, in / g, k...], then [out, rank, 1...]
//                                    spatial: [g rank, in / g, kh, 1], then [out, rank, 1, kw]
//
// The first layer moves as the old one did (spatial: along its rows), has its groups and no bias;
// the second has its groups and its bias. Zhang et al. 2016, "Accelerating Very Deep Convolutional
// Networks for Classification and Detection" (channel); Jaderberg et al. 2014, "Speeding up
// Convolutional Neural Networks with Low Rank Expansions", and Tai et al. 2016, "Convolutional
// Neural Networks with Low-Rank Regularization" (spatial).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "model/model.h"
#include "model/weight_matrix.h"

namespace edgecompress {

enum class FactorScheme { kChannel, kSpatial };
std::string to_string(FactorScheme scheme);

/// Weights of the two layers, in their own shapes.
struct FactorPair {
  at::Tensor first, second;
};

/// The weight that the two multiply to.
at::Tensor product_of(const FactorPair& factors, const PrunableWeight& weight, FactorScheme scheme);

/// Of one run.
struct LayerCost {
  std::int64_t macs = 0, parameters = 0;
};

/// Whether the scheme is another one than kChannel for this weight: of 2-D convolutions with
/// kernels of several rows and several columns.
bool has_spatial_scheme(const PrunableWeight& weight);

/// Why no scheme can be had, or "": transposed convolutions, RNNs, arguments that are no constants.
std::string why_not_factored(const Model& model, const PrunableWeight& weight);

/// What the layers of the weight cost together (biases apart): a unit of rank, by the sizes that
/// one run gave them.
LayerCost cost_of_rank(const PrunableWeight& weight, FactorScheme scheme, const ShapeMap& shapes);
LayerCost cost_of_layer(const PrunableWeight& weight, const ShapeMap& shapes);

/// Puts the two layers into the place of each node of weight.nodes. Where the weight is M.weight,
/// they are M.0 and M.1, as of a Sequential in M's place; where that is taken, or the weight has
/// another name, M.factors.0 and M.factors.1. The bias moves along unless others read it too. The
/// model's unused attributes are left to the caller. Returns the name of the second layer's weight.
std::string replace_by_factors(Model& model, const PrunableWeight& weight, FactorScheme scheme,
                               const FactorPair& factors);

}  // namespace edgecompress
