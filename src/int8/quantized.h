// INT8 described as plain data, and the one place where it becomes LibTorch's packed form.
//
// How far an INT8 layer's output y' may lie from the float layer's y = sum of w x + b:
//
//   |y' - y| <= sum of |w| e_x  +  sum of e_w (|x| + e_x)  +  s_x s_w / 2  +  s_y / 2  +  c_y
//   e_x = s_x / 2 + c_x,  e_w = |w' - w| <= s_w / 2 where nothing is clipped
//
// s: the scales of input, weight and output; w': the weight as INT8 holds it; c: by how much values
// lie outside the range that their scale and zero point hold, 0 inside; the sums are the layer's.
// The third term is of the bias, which kernels round to multiples of s_x s_w (up to 2^31 of them).
// It holds on every engine whose sums don't overflow, see int8_engine.h; requantization in float32
// adds a hundredth of s_y at most.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/conv_geometry.h"

namespace edgecompress {

/// Affine quantization of an activation: real = scale * (q - zero_point), q in [0, 255].
struct QuantizedRange {
  double scale = 1.0;
  std::int64_t zero_point = 0;
};

/// A weight in INT8, one scale per output channel (axis 0): real = scales[c] * values[c, ...].
struct QuantizedWeight {
  at::Tensor values;  ///< int8, in [-127, 127]
  at::Tensor scales;  ///< float64, of size values.size(axis), or 1 for per-tensor
  std::int64_t axis = 0;
};

/// The largest weight value. x86 kernels without VNNI add two products of an activation (up to 255)
/// and a weight in 16 bits, which 127 can overflow and 64 can't: 2 * 255 * 64 < 2^15.
constexpr std::int64_t kFullWeightRange = 127, kReducedWeightRange = 64;

/// How weights become INT8.
struct WeightScheme {
  bool per_channel = true;
  std::int64_t largest = kFullWeightRange;
  /// Whether the largest weights are clipped where finer steps for all the others are worth it.
  bool clips = false;
};

/// Symmetric; scale = T / largest, one T per channel or one for all (zeros get scale 1). T is
/// max|w|, or with `clips` that one of max|w| 0.97^i which gives the least squared error. Throws
/// Error(kPass) if the weight is not finite.
QuantizedWeight quantize_weight(const at::Tensor& weight, const WeightScheme& scheme,
                                std::int64_t axis = 0);
at::Tensor dequantize(const QuantizedWeight& weight);

/// The smallest affine range that holds [low, high] and 0 exactly (Jacob et al. 2018, "Quantization
/// and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference").
QuantizedRange choose_range(double low, double high);
/// The smallest symmetric range that holds [-magnitude, magnitude]: zero point 128, q in [1, 255].
QuantizedRange choose_symmetric_range(double magnitude);
/// Steps from one end of an affine range to the other; from zero to an end of a symmetric one.
constexpr std::int64_t kAffineSteps = 255, kSymmetricSteps = 127;

/// Packed parameters for quantized::conv{1,2,3}d (by the weight's rank; conv_transpose{1,2,3}d
/// where the geometry has an output padding, zeros too) / quantized::linear /
/// quantized::linear_dynamic. Throws Error(kPass) if the engine refuses.
c10::IValue pack_conv(const QuantizedWeight& weight, const at::Tensor& bias,
                      const ConvGeometry& geometry);
c10::IValue pack_linear(const QuantizedWeight& weight, const at::Tensor& bias);
/// Whether an op computes with packed INT8 weights.
bool is_int8_op(const std::string& op);
/// The weight that the op ("quantized::conv2d_relu", "quantized::linear_dynamic") was packed with:
/// LibTorch's quantized tensor, or float16 of ops that end in _fp16.
at::Tensor unpacked_weight(const std::string& op, const c10::IValue& packed);
/// One cell of aten::quantized_lstm / aten::quantized_gru, its activations quantized dynamically.
/// Weights per tensor, [gates * hidden, inputs] and [gates * hidden, hidden]; biases are needed.
c10::IValue pack_rnn_cell(const QuantizedWeight& input_weight, const QuantizedWeight& hidden_weight,
                          const at::Tensor& input_bias, const at::Tensor& hidden_bias);

}  // namespace edgecompress
