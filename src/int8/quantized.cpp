#include "int8/quantized.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

// Kernels divide by scales in float and flush denormals.
constexpr double kSmallestScale = std::numeric_limits<float>::min();
// Of what is tried as the largest weight kept: each a bit smaller than the one before.
constexpr double kShrink = 0.97, kLeastKept = 0.1;

c10::IValue call(const std::string& op, torch::jit::Stack stack) {
  try {
    c10::Dispatcher::singleton().findSchemaOrThrow(op.c_str(), "").callBoxed(stack);
  } catch (const c10::Error& error) {
    throw Error(ExitCode::kPass, op + " refused: " + error.what_without_backtrace(),
                "leave the layer float with the pass's `exclude` option");
  }
  return stack.at(0);
}

/// LibTorch's own quantized tensor.
at::Tensor to_quantized_tensor(const QuantizedWeight& weight) {
  if (weight.scales.numel() == 1) {
    return at::_make_per_tensor_quantized_tensor(weight.values, weight.scales.item<double>(), 0);
  }
  const at::Tensor zero_points = at::zeros(weight.scales.sizes(), at::kLong);
  return at::_make_per_channel_quantized_tensor(weight.values, weight.scales, zero_points,
                                                weight.axis);
}

/// `scales` so that it broadcasts over `axis`.
at::Tensor along_axis(const at::Tensor& scales, std::int64_t rank, std::int64_t axis) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(rank), 1);
  shape.at(static_cast<std::size_t>(axis)) = scales.numel();
  return scales.reshape(shape);
}

/// The magnitude up to which a row is kept, at most `magnitude`, for the least squared error.
double best_magnitude(const float* row, std::int64_t count, double magnitude, double largest) {
  // Adding it rounds a float of at most 2^22 to an integer, half to even.
  constexpr float kRounder = 12582912.0F;
  double best = magnitude, least = std::numeric_limits<double>::infinity();
  for (double kept = magnitude; kept > kLeastKept * magnitude; kept *= kShrink) {
    const auto scale = static_cast<float>(kept / largest);
    const float per_scale = 1 / scale, limit = static_cast<float>(kept);
    double inside = 0, clipped = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = std::abs(row[i]);
      const float covered = std::min(value, limit);
      const float rounding = covered - (covered * per_scale + kRounder - kRounder) * scale;
      const float excess = value - covered;
      inside += rounding * rounding;
      clipped += excess * excess;
    }
    if (clipped >= least) break;  // and more so from here on
    if (inside + clipped < least) {
      least = inside + clipped;
      best = kept;
    }
  }
  return best;
}

void clip_magnitudes(const at::Tensor& rows, const at::Tensor& magnitudes, std::int64_t largest) {
  const at::Tensor narrow = rows.to(at::kFloat).contiguous();
  auto* kept = magnitudes.data_ptr<double>();
  const std::int64_t length = narrow.size(1);
  for (std::int64_t i = 0; i < narrow.size(0); ++i) {
    kept[i] = best_magnitude(narrow.data_ptr<float>() + i * length, length, kept[i],
                             static_cast<double>(largest));
  }
}

/// round(weight / scales), a slice at a time: tables of embeddings are large, and this is in double
/// precision.
at::Tensor rounded(const at::Tensor& weight, const at::Tensor& scales, std::int64_t largest) {
  constexpr std::int64_t kSlice = std::int64_t{1} << 20;
  at::Tensor values = at::empty_like(weight, at::kChar);
  const std::int64_t row = std::max<std::int64_t>(weight[0].numel(), 1);
  const std::int64_t step = std::max<std::int64_t>(kSlice / row, 1);
  for (std::int64_t first = 0; first < weight.size(0); first += step) {
    const std::int64_t count = std::min(step, weight.size(0) - first);
    const at::Tensor divisor = scales.size(0) == 1 ? scales : scales.narrow(0, first, count);
    values.narrow(0, first, count)
        .copy_(weight.narrow(0, first, count)
                   .to(at::kDouble)
                   .div_(divisor)
                   .round_()
                   .clamp_(-largest, largest));
  }
  return values;
}

c10::IValue optional_bias(const at::Tensor& bias) {
  return bias.defined() ? c10::IValue(bias.detach().to(at::kFloat)) : c10::IValue();
}

}  // namespace

QuantizedWeight quantize_weight(const at::Tensor& weight, const WeightScheme& scheme,
                                std::int64_t axis) {
  const at::NoGradGuard no_grad;
  const at::Tensor given = weight.detach();
  const std::int64_t channels = scheme.per_channel ? given.size(axis) : 1;
  const at::Tensor rows = scheme.per_channel ? given.transpose(0, axis).reshape({channels, -1})
                                             : given.reshape({1, -1});
  const at::Tensor magnitudes = at::maximum(rows.amax(1), rows.amin(1).neg()).to(at::kDouble);
  if (!at::isfinite(magnitudes).all().item<bool>()) {
    throw Error(ExitCode::kPass, "a weight holds values that are not finite",
                "the weights of the model are damaged");
  }
  if (scheme.clips) clip_magnitudes(rows, magnitudes, scheme.largest);
  // Rounded to float first: that is the precision in which kernels and files keep scales.
  const at::Tensor scales = (magnitudes / scheme.largest).to(at::kFloat).to(at::kDouble);
  QuantizedWeight quantized;
  quantized.axis = axis;
  quantized.scales = at::where(scales >= kSmallestScale, scales, at::ones_like(scales));
  quantized.values =
      rounded(given, along_axis(quantized.scales, given.dim(), scheme.per_channel ? axis : 0),
              scheme.largest);
  return quantized;
}

at::Tensor dequantize(const QuantizedWeight& weight) {
  const std::int64_t axis = weight.scales.numel() == 1 ? 0 : weight.axis;
  const at::Tensor scales = along_axis(weight.scales, weight.values.dim(), axis).to(at::kFloat);
  return weight.values.to(at::kFloat).mul_(scales);
}

QuantizedRange choose_range(double low, double high) {
  low = std::min(low, 0.0);
  high = std::max(high, 0.0);
  QuantizedRange range;
  range.scale = static_cast<float>((high - low) / static_cast<double>(kAffineSteps));
  if (!(range.scale >= kSmallestScale)) return {1.0, 0};
  range.zero_point = std::clamp<std::int64_t>(std::llround(-low / range.scale), 0, kAffineSteps);
  return range;
}

QuantizedRange choose_symmetric_range(double magnitude) {
  const double scale = static_cast<float>(magnitude / static_cast<double>(kSymmetricSteps));
  return {scale >= kSmallestScale ? scale : 1.0, 128};
}

c10::IValue pack_conv(const QuantizedWeight& weight, const at::Tensor& bias,
                      const ConvGeometry& geometry) {
  const std::string rank = std::to_string(weight.values.dim() - 2);
  torch::jit::Stack stack{to_quantized_tensor(weight), optional_bias(bias), geometry.stride,
                          geometry.padding};
  const bool is_transposed = !geometry.output_padding.empty();
  if (is_transposed) stack.emplace_back(geometry.output_padding);
  stack.emplace_back(geometry.dilation);
  stack.emplace_back(geometry.groups);
  return call(
      "quantized::conv" + std::string(is_transposed ? "_transpose" : "") + rank + "d_prepack",
      std::move(stack));
}

c10::IValue pack_linear(const QuantizedWeight& weight, const at::Tensor& bias) {
  return call("quantized::linear_prepack", {to_quantized_tensor(weight), optional_bias(bias)});
}

bool is_int8_op(const std::string& op) {
  return starts_with(op, "quantized::") || starts_with(op, "aten::quantized_");
}

at::Tensor unpacked_weight(const std::string& op, const c10::IValue& packed) {
  std::string unpack = "quantized::linear_unpack";
  if (op.find("::conv") != std::string::npos) {
    unpack = op.substr(0, op.find('d', op.find("::conv")) + 1) + "_unpack";  // without _relu
  } else if (ends_with(op, "_fp16")) {
    unpack += "_fp16";
  }
  torch::jit::Stack stack{packed};
  c10::Dispatcher::singleton().findSchemaOrThrow(unpack.c_str(), "").callBoxed(&stack);
  return stack.at(0).toTensor();
}

c10::IValue pack_rnn_cell(const QuantizedWeight& input_weight, const QuantizedWeight& hidden_weight,
                          const at::Tensor& input_bias, const at::Tensor& hidden_bias) {
  return call("quantized::make_quantized_cell_params_dynamic",
              {pack_linear(input_weight, input_bias), pack_linear(hidden_weight, hidden_bias),
               input_bias.detach(), hidden_bias.detach(), /*reduce_range=*/false});
}

}  // namespace edgecompress
