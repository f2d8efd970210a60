// A low-rank adapter of one weight, as numbers: W, seen as a matrix [outputs, inputs], is changed
// by scale * B A, with B [outputs, rank] and A [rank, inputs].
//
//   LoRA    scale = alpha / rank; A drawn, B = 0: Hu et al. 2021, "LoRA: Low-Rank Adaptation of
//           Large Language Models"
//   rsLoRA  scale = alpha / sqrt(rank): Kalajdzievski 2023, "A Rank Stabilization Scaling Factor
//           for Fine-Tuning with LoRA"
//   DoRA    W' = m V / |V|, V = W + scale * B A, norms of rows; m is trained too and starts as |W|;
//           |V| counts as a constant in the backward pass: Liu et al. 2024, "DoRA:
//           Weight-Decomposed Low-Rank Adaptation"
//   PiSSA   scale * B A starts as the principal singular triples of W, and what is trained over is
//           W less that: Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors
//           Adaptation of Large Language Models"
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/layers.h"

namespace edgecompress {

struct AdapterSettings {
  std::int64_t rank = 8;
  double alpha = 16;
  bool rslora = false;
  bool dora = false;
  double dropout = 0;  ///< of what the adapter reads, in training; embeddings have none

  double scale() const;  ///< of B A
};

/// Tensors have the shapes of the PEFT library, one rank more than a matrix for each dimension of a
/// kernel k:
///
///                    weight                    A                B                 m
///   linear           [out, in]                 [r, in]          [out, r]          [out]
///   convolution      [out, in / groups, k]     [r, in/g, k]     [out, r, 1]       [1, out, 1]
///   embedding        [count, width]            [r, count]       [width, r]        [width]
///   transposed conv. [in, out / groups, k]     [r, in, k]       [out/g, r, 1]     [1, out/g, 1]
///
/// PEFT has no transposed convolutions; its grouped ones read all channels and can't be merged.
struct Adapter {
  std::string module;  ///< the layer's name, "layer1.0.conv1"
  LayerKind kind = LayerKind::kLinear;
  AdapterSettings settings;
  at::Tensor a, b;
  at::Tensor magnitude;  ///< m of DoRA, else undefined
  double share = 1;      ///< how much of the change counts, where several are over one base

  /// Whether inputs are the weight's first dimension, outputs its second.
  bool has_inputs_first() const;
};

/// Shapes of A, B and m over the weight, see above.
struct FactorShapes {
  std::vector<std::int64_t> a, b, magnitude;
};
FactorShapes factor_shapes(const Adapter& adapter, const at::Tensor& weight);

/// The weight as a matrix [outputs, inputs]; a view where it can be one.
at::Tensor adapter_matrix(const Adapter& adapter, const at::Tensor& weight);

/// A and B as LoRA starts (of an embedding, as in PEFT, it is A that is 0 and B that is drawn):
/// bound 1 / sqrt(inputs), uniform. With DoRA m = |W|. The layer's outputs do not change.
void start_plain(Adapter& adapter, const at::Tensor& weight, std::uint64_t seed);
/// A and B as PiSSA starts; the rank becomes at most that of the weight. m = |W|. What is left of
/// the weight is weight - scale * B A.
void start_pissa(Adapter& adapter, const at::Tensor& weight);

/// What is added to the weight: share * scale * B A in the weight's shape, or share * (W' - W) of
/// DoRA. `zeros`: where no change goes (bool, the weight's shape), or undefined.
/// Of B A, as the expressions take it: the share of DoRA's change comes later.
double change_scale(const Adapter& adapter);
at::Tensor weight_change(const Adapter& adapter, const at::Tensor& weight, const at::Tensor& zeros);

/// The adapter of twice the rank that does over the whole weight what `trained` does over the
/// weight less `start`'s scale * B A.
Adapter without_start(const Adapter& trained, const Adapter& start);

}  // namespace edgecompress
