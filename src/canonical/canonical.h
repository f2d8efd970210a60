// Brings a loaded module to canonical form; see model.h for what that is.
//
// One spelling an op (what is not listed keeps the spelling that it came with):
//
//   found                                            becomes
//   _convolution, convolution                        conv1d..3d, conv_transpose1d..3d (rank:
//   strides) conv*d with padding "valid", or "same" where it  conv*d with the padding as numbers
//     is symmetric; _convolution_mode
//   addmm(bias, x, t(w)), matmul(x, t(w)) [+ bias],  linear(x, w, bias)
//     mm(x, t(w)) [+ bias], linear(x, w) + bias
//   native_batch_norm, cudnn_batch_norm,             batch_norm
//     _native_batch_norm_legit*, _batch_norm_impl_index
//   native_layer_norm                                layer_norm
//   _native_multi_head_attention(x, x, x, ...)       linear, matmul, softmax
//   relu6(x)                                         hardtanh(x, 0, 6)
//   op_(x, ...)                                      op(x, ...)
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <vector>

#include "model/model.h"

namespace edgecompress {

struct Canonical {
  torch::jit::Module module;
  std::vector<Finding> findings;
};

/// `module` is not changed. Never throws for what can't be brought to the form: it is named
/// instead. Each step's outputs on the example input are compared with the original's; a step that
/// changes them is taken back and named. Without `inputs` nothing can be compared, so only what
/// holds for every input is done.
Canonical canonicalise(const torch::jit::Module& module, const std::vector<InputSpec>& inputs);

}  // namespace edgecompress
