// Example inputs from their descriptions, and outputs as a flat list.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <map>

#include "edgecompress/error.h"
#include "model/model.h"
#include "util/text.h"

namespace edgecompress {
namespace {

// A recipe comes from anywhere: 4 Gi elements is more than any example needs.
constexpr std::int64_t kMaxElements = std::int64_t{1} << 32;

const std::map<std::string, c10::ScalarType>& dtypes() {
  static const std::map<std::string, c10::ScalarType> table = {
      {"float32", at::kFloat},     {"float64", at::kDouble}, {"float16", at::kHalf},
      {"bfloat16", at::kBFloat16}, {"uint8", at::kByte},     {"int8", at::kChar},
      {"int16", at::kShort},       {"int32", at::kInt},      {"int64", at::kLong},
      {"bool", at::kBool}};
  return table;
}

void append(const c10::IValue& value, std::vector<at::Tensor>& tensors) {
  if (value.isTensor()) {
    tensors.push_back(value.toTensor());
  } else if (value.isTuple()) {
    for (const auto& element : value.toTupleRef().elements()) append(element, tensors);
  } else if (value.isList()) {
    for (const c10::IValue& element : value.toListRef()) append(element, tensors);
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) append(entry.value(), tensors);
  }
}

at::Tensor make_example(const InputSpec& input, std::int64_t batch_size, at::Generator generator) {
  auto shape = input.shape;
  if (batch_size > 0 && !shape.empty()) shape[0] = batch_size;
  std::int64_t elements = 1;
  for (const auto size : shape) {
    if (size < 0 || (size > 0 && elements > kMaxElements / size)) {
      throw Error(ExitCode::kRecipe,
                  "an input shape has a size of " + std::to_string(size) + " or too many elements",
                  "give sizes of at least 1, at most 4294967296 elements in all");
    }
    elements *= size;
  }
  const auto dtype = parse_dtype(input.dtype);
  if (c10::isFloatingType(dtype)) return at::randn(shape, generator, at::kFloat).to(dtype);
  const auto high = dtype == at::kBool ? 2 : input.high;
  return at::randint(high, shape, generator, at::kLong).to(dtype);
}

}  // namespace

std::vector<at::Tensor> flatten_outputs(const c10::IValue& output) {
  std::vector<at::Tensor> tensors;
  append(output, tensors);
  return tensors;
}

std::vector<at::Tensor> flatten_outputs(const std::vector<c10::IValue>& outputs) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& output : outputs) append(output, tensors);
  return tensors;
}

c10::ScalarType parse_dtype(const std::string& name) {
  const auto found = dtypes().find(name);
  if (found != dtypes().end()) return found->second;
  std::vector<std::string> names;
  for (const auto& entry : dtypes()) names.push_back(entry.first);
  throw Error(ExitCode::kRecipe, "unknown dtype \"" + name + "\"",
              "known are " + join(names, ", "));
}

std::string dtype_name(c10::ScalarType dtype) {
  for (const auto& entry : dtypes()) {
    if (entry.second == dtype) return entry.first;
  }
  return c10::toString(dtype);
}

std::vector<at::Tensor> make_example_inputs(const std::vector<InputSpec>& inputs,
                                            std::int64_t batch_size, std::uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  std::vector<at::Tensor> examples;
  for (const auto& input : inputs) examples.push_back(make_example(input, batch_size, generator));
  return examples;
}

}  // namespace edgecompress
