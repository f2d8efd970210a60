// How INT8 graphs spell what LibTorch has no fast kernel for. Without FBGEMM, which Debian's
// LibTorch lacks, quantize_per_tensor and dequantize go number by number, in 4.6 and 2.8 ns each;
// spelled with kernels that compilers vectorise they take 0.6 and 0.9. Broadcasting INT8 kernels
// fall back to 3 ns a number in what is left over of each row of channels. oneDNN's INT8 matrix
// product takes 2 to 6 times as long as its 1x1 convolution for few rows, and as long for many.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <cstdint>
#include <string>
#include <vector>

#include "int8/quantized.h"
#include "model/interpreter.h"

namespace edgecompress {

/// Inserts at the graph's insert point. Sizes are asked of float values, by which `shapes` (of a
/// run of the example input, perhaps empty) knows them; right for any sizes, fast for those.
class Int8Nodes {
 public:
  Int8Nodes(torch::jit::Graph& graph, const ShapeMap& shapes) : graph_(graph), shapes_(shapes) {}

  torch::jit::Node* insert(const std::string& op, const std::vector<torch::jit::Value*>& inputs);
  torch::jit::Value* constant(const c10::IValue& value) { return graph_.insertConstant(value); }
  torch::jit::Value* convert(torch::jit::Value* value, c10::ScalarType type);

  /// INT8 of a float value.
  torch::jit::Value* quantize(torch::jit::Value* value, QuantizedRange range);
  /// Float of an INT8 value that was made of `original`.
  torch::jit::Value* dequantize(torch::jit::Value* quantized, torch::jit::Value* original,
                                QuantizedRange range);
  /// `table`: uint8, [256]; the result is in `range`.
  torch::jit::Value* look_up(torch::jit::Value* quantized, torch::jit::Value* original,
                             torch::jit::Value* table, QuantizedRange range);
  /// The mean over [2, 3] of a 4-D value; null where that is not what the node asks for.
  torch::jit::Node* mean_of_images(torch::jit::Value* quantized, const torch::jit::Node* mean);
  /// A factor [N, C, 1, 1] stretched to an image's size where broadcasting it would be slow; else
  /// as it is.
  torch::jit::Value* stretch(torch::jit::Value* factor, const torch::jit::Value* original,
                             torch::jit::Value* image, const torch::jit::Value* image_original);

  /// Whether a linear layer is better computed as a 1x1 convolution over pixels.
  bool is_faster_over_pixels(const torch::jit::Value* rows, const at::Tensor& weight) const;
  /// INT8 rows [N, F] or [B, T, F] as pixels [1, F, N, 1] or [B, F, 1, T], channels-last: a view.
  torch::jit::Value* rows_to_pixels(torch::jit::Value* quantized, const torch::jit::Value* original,
                                    std::int64_t features);
  torch::jit::Node* pixels_to_rows(torch::jit::Value* pixels, const torch::jit::Value* original,
                                   std::int64_t features);

 private:
  std::int64_t rank(const torch::jit::Value* value) const;
  bool is_worth_vectorising(const torch::jit::Value* value) const;
  torch::jit::Graph& graph_;
  const ShapeMap& shapes_;
};

}  // namespace edgecompress
