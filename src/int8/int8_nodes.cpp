#include "int8/int8_nodes.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/util/accumulate.h>

#include <algorithm>

#include "model/graph_building.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

/// Below, what the dispatcher takes for three more ops outweighs the kernels.
constexpr std::int64_t kManyNumbers = 4096;
/// Rows of channels that the widest vectors (two of 64 bytes a step) leave nothing over of.
constexpr std::int64_t kVectorisedChannels = 128;
/// Below, the four views around a convolution outweigh what it saves.
constexpr std::int64_t kLargeMatrix = 1 << 16;

bool has_vectorised_quantization() {
  const auto& engines = at::globalContext().supportedQEngines();
  return std::find(engines.begin(), engines.end(), at::QEngine::FBGEMM) != engines.end();
}

}  // namespace

Node* Int8Nodes::insert(const std::string& op, const std::vector<Value*>& inputs) {
  return insert_op(graph_, op, inputs);
}

Value* Int8Nodes::quantize(Value* value, QuantizedRange range) {
  Value *scale = constant(range.scale), *zero_point = constant(range.zero_point);
  if (!is_worth_vectorising(value)) {
    return insert("aten::quantize_per_tensor",
                  {value, scale, zero_point, constant(static_cast<std::int64_t>(at::kQUInt8))})
        ->output();
  }
  // Truncated after adding a half; by way of int32, since LibTorch's float to uint8 is scalar code.
  Value* offset = constant(at::scalar_tensor(static_cast<double>(range.zero_point) + 0.5));
  Value* steps = insert("aten::add", {offset, value, constant(1.0 / range.scale)})->output();
  Value* clamped = insert("aten::clamp", {steps, constant(0.0), constant(255.0)})->output();
  Value* bytes = convert(convert(clamped, at::kInt), at::kByte);
  return insert("aten::_make_per_tensor_quantized_tensor", {bytes, scale, zero_point})->output();
}

Value* Int8Nodes::dequantize(Value* quantized, Value* original, QuantizedRange range) {
  if (!is_worth_vectorising(original)) return insert("aten::dequantize", {quantized})->output();
  Value* numbers = convert(insert("aten::int_repr", {quantized})->output(), at::kFloat);
  Value* steps =
      insert("aten::sub", {numbers, constant(range.zero_point), constant(std::int64_t{1})})
          ->output();
  return insert("aten::mul", {steps, constant(range.scale)})->output();
}

Value* Int8Nodes::look_up(Value* quantized, Value* original, Value* table, QuantizedRange range) {
  // Images are channels-last: so turned, one row of numbers is no copy.
  const std::int64_t dimensions = rank(original);
  const bool is_image = dimensions == 4 || dimensions == 5;
  std::vector<std::int64_t> to_rows{0}, back{0, dimensions - 1};
  for (std::int64_t i = 2; i < dimensions; ++i) to_rows.push_back(i);
  to_rows.push_back(1);
  for (std::int64_t i = 1; i + 1 < dimensions; ++i) back.push_back(i);

  Value* bytes = insert("aten::int_repr", {quantized})->output();
  if (is_image) bytes = insert("aten::permute", {bytes, constant(to_rows)})->output();
  Value* row = insert("aten::reshape", {bytes, constant(std::vector<std::int64_t>{-1})})->output();
  Value* found =
      insert("aten::index_select", {table, constant(std::int64_t{0}), convert(row, at::kInt)})
          ->output();
  found = insert("aten::view_as", {found, bytes})->output();
  if (is_image) found = insert("aten::permute", {found, constant(back)})->output();
  return insert("aten::_make_per_tensor_quantized_tensor",
                {found, constant(range.scale), constant(range.zero_point)})
      ->output();
}

Node* Int8Nodes::mean_of_images(Value* quantized, const Node* mean) {
  std::vector<std::int64_t> dims = constant_argument(mean, "dim").toIntVector();
  for (std::int64_t& dim : dims) dim = dim < 0 ? dim + 4 : dim;
  std::sort(dims.begin(), dims.end());
  const c10::IValue keeps = constant_argument(mean, "keepdim");
  if (rank(mean->input(0)) != 4 || dims != std::vector<std::int64_t>{2, 3} || !keeps.isBool())
    return nullptr;
  Node* pooled =
      insert("aten::adaptive_avg_pool2d", {quantized, constant(std::vector<std::int64_t>{1, 1})});
  if (keeps.toBool()) return pooled;
  return insert("aten::flatten",
                {pooled->output(), constant(std::int64_t{1}), constant(std::int64_t{-1})});
}

Value* Int8Nodes::stretch(Value* factor, const Value* original, Value* image,
                          const Value* image_original) {
  const auto small = shapes_.find(original), large = shapes_.find(image_original);
  if (small == shapes_.end() || large == shapes_.end()) return factor;
  const auto &from = small->second.sizes, &to = large->second.sizes;
  const bool is_factor = from.size() == 4 && to.size() == 4 && from[1] == to[1] && from[2] == 1 &&
                         from[3] == 1 && to[2] * to[3] > 1;
  if (!is_factor || to[1] % kVectorisedChannels == 0) return factor;
  Value* expanded = insert("aten::expand_as", {factor, image})->output();
  const auto channels_last = static_cast<std::int64_t>(at::MemoryFormat::ChannelsLast);
  return insert("aten::contiguous", {expanded, constant(channels_last)})->output();
}

bool Int8Nodes::is_faster_over_pixels(const Value* rows, const at::Tensor& weight) const {
  const bool has_rows = rank(rows) == 2 || rank(rows) == 3;
  return has_rows && weight.numel() >= kLargeMatrix &&
         at::globalContext().qEngine() == at::QEngine::ONEDNN;
}

Value* Int8Nodes::rows_to_pixels(Value* quantized, const Value* original, std::int64_t features) {
  Node* spread = rank(original) == 2
                     ? insert("aten::reshape",
                              {quantized, constant(std::vector<std::int64_t>{1, -1, 1, features})})
                     : insert("aten::unsqueeze", {quantized, constant(std::int64_t{2})});
  return insert("aten::permute",
                {spread->output(), constant(std::vector<std::int64_t>{0, 3, 1, 2})})
      ->output();
}

Node* Int8Nodes::pixels_to_rows(Value* pixels, const Value* original, std::int64_t features) {
  Value* spread =
      insert("aten::permute", {pixels, constant(std::vector<std::int64_t>{0, 2, 3, 1})})->output();
  if (rank(original) == 3) return insert("aten::squeeze", {spread, constant(std::int64_t{2})});
  return insert("aten::reshape", {spread, constant(std::vector<std::int64_t>{-1, features})});
}

std::int64_t Int8Nodes::rank(const Value* value) const {
  const auto shape = shapes_.find(value);
  return shape == shapes_.end() ? 0 : static_cast<std::int64_t>(shape->second.sizes.size());
}

bool Int8Nodes::is_worth_vectorising(const Value* value) const {
  static const bool is_vectorised = has_vectorised_quantization();
  const auto shape = shapes_.find(value);
  if (is_vectorised || shape == shapes_.end()) return false;
  return c10::multiply_integers(shape->second.sizes) >= kManyNumbers;
}

Value* Int8Nodes::convert(Value* value, c10::ScalarType type) {
  return insert_conversion(graph_, value, type);
}

}  // namespace edgecompress
