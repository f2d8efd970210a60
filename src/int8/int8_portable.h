// Static INT8 without INT8 kernels: a file as small as the INT8 one that runs wherever LibTorch
// runs, without any quantized engine.
//
// The graph is the simulation of fake_quantization.h: weights are int8 tensors that plain ops
// dequantize on each run, activations stay float and are rounded to the INT8 graph's steps. So
// outputs differ from the INT8 file's only as fake_quantization.h says: one step of its range at
// most an op that rounds, given the same inputs; most are equal. It is slower than the float
// network, by the dequantizing and the rounding; torch.jit.freeze takes the former away, and with
// it the small memory.
#pragma once

#include <vector>

#include "int8/int8_scheme.h"

namespace edgecompress {

/// As rewrite_static_int8, in plain ops.
std::vector<Int8Layer> rewrite_portable_int8(Model& model, const Int8Scheme& scheme);

}  // namespace edgecompress
