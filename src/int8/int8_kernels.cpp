#include "int8/int8_kernels.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

using Form = Int8Form;
using Numbers = Int8Kernel::Numbers;

bool is_number(const c10::IValue& value) {
  return value.isInt() || value.isDouble() ||
         (value.isTensor() && value.toTensor().defined() && value.toTensor().dim() == 0 &&
          value.toTensor().scalar_type() != at::kBool);
}

double number_of(const c10::IValue& value) {
  return value.isTensor() ? value.toTensor().item<double>() : value.toScalar().toDouble();
}

bool second_is_number(const Node* node) {
  const auto second = constant_of(node->input(1));
  return second && is_number(*second);
}

bool second_is_not_zero(const Node* node) {
  return second_is_number(node) && !is_zero(*constant_of(node->input(1)));
}

bool has_constant_arguments(const Node* node) {
  const auto arguments = node->inputs().slice(1);
  return std::all_of(arguments.begin(), arguments.end(), [](const Value* value) {
    return constant_of(value) && !constant_of(value)->isTensor();
  });
}

bool has_constant_number(const Node* node) {
  return second_is_number(node) &&
         (node->inputs().size() < 3 || constant_of(node->input(2)).has_value());
}

bool clamps_both_sides(const Node* node) {
  return constant_argument(node, "min").isScalar() && constant_argument(node, "max").isScalar();
}

bool has_whole_power(const Node* node) {
  const c10::IValue exponent = constant_argument(node, "exponent");
  return exponent.isInt() && exponent.toInt() > 0;
}

bool reads_two_tensors(const Node* node) {
  return node->input(1)->type()->kind() == c10::TypeKind::TensorType && !second_is_number(node);
}

bool adds_tensors(const Node* node) {
  const c10::IValue alpha = constant_argument(node, "alpha");
  return reads_two_tensors(node) && alpha.isInt() && alpha.toInt() == 1;
}

bool means_over_dims(const Node* node) {
  return constant_argument(node, "dtype").isNone() && constant_argument(node, "dim").isIntList();
}

bool has_zero_value(const Node* node) { return is_zero(constant_argument(node, "value")); }

bool pads_with_zeros(const Node* node) {
  const c10::IValue mode = constant_argument(node, "mode"),
                    value = constant_argument(node, "value");
  return mode.isString() && mode.toStringRef() == "constant" && (value.isNone() || is_zero(value));
}

/// Lists of tensors stay INT8 only if they are taken apart at once.
bool is_only_unpacked(const Node* node) {
  const auto& uses = node->output()->uses();
  return std::all_of(uses.begin(), uses.end(), [](const torch::jit::Use& use) {
    return use.user->kind() == c10::prim::ListUnpack;
  });
}

bool is_list_for_itself(const Node* node) {
  const Node* list = node->input(0)->node();
  return list->kind() == c10::prim::ListConstruct && list->output()->uses().size() == 1;
}

bool has_slopes(const Node* node) { return !attribute_path(node->input(1)).empty(); }

bool is_not_training(const Node* node) {
  const Value* training = node->namedInput("training");
  const auto constant = constant_of(training);
  return (constant ? !constant->toBool() : !attribute_path(training).empty()) &&
         !constant_of(node->namedInput("running_mean"));
}

bool uses_input_statistics(const Node* node) {
  const c10::IValue uses = constant_argument(node, "use_input_stats");
  return uses.isBool() && uses.toBool();
}

/// Hard sigmoid gives steps of 1/256 whatever it reads.
QuantizedRange unit_range(const Node*, QuantizedRange) { return {1.0 / 256, 0}; }

/// A negative factor turns the steps round.
QuantizedRange scaled_range(const Node* node, QuantizedRange input) {
  const double factor = number_of(*constant_of(node->input(1)));
  input.scale = std::abs(factor) * input.scale;
  if (factor < 0) input.zero_point = 255 - input.zero_point;
  return input;
}

/// Ops that only move numbers, whatever their arguments.
constexpr const char* kMoves[] = {"aten::flatten",
                                  "aten::view",
                                  "aten::reshape",
                                  "aten::reshape_as",
                                  "aten::permute",
                                  "aten::transpose",
                                  "aten::movedim",
                                  "aten::slice",
                                  "aten::select",
                                  "aten::narrow",
                                  "aten::squeeze",
                                  "aten::unsqueeze",
                                  "aten::expand",
                                  "aten::expand_as",
                                  "aten::repeat",
                                  "aten::flip",
                                  "aten::index_select",
                                  "aten::contiguous",
                                  "aten::relu",
                                  "aten::max_pool1d",
                                  "aten::max_pool2d",
                                  "aten::reflection_pad1d",
                                  "aten::reflection_pad2d",
                                  "aten::pixel_shuffle",
                                  "aten::pixel_unshuffle",
                                  "aten::channel_shuffle",
                                  "prim::ListUnpack",
                                  "aten::upsample_nearest2d",
                                  "aten::upsample_nearest3d"};

/// Ops whose results lie between their input's numbers.
constexpr const char* kAverages[] = {"aten::avg_pool1d",          "aten::avg_pool2d",
                                     "aten::avg_pool3d",          "aten::adaptive_avg_pool1d",
                                     "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d",
                                     "aten::upsample_bilinear2d"};

/// Functions of one number, finite everywhere, that have no INT8 kernel or a slower one.
constexpr const char* kFunctions[] = {
    "aten::silu",      "aten::gelu",     "aten::elu",         "aten::celu",      "aten::selu",
    "aten::mish",      "aten::softplus", "aten::log_sigmoid", "aten::tanh",      "aten::erf",
    "aten::exp",       "aten::sin",      "aten::cos",         "aten::atan",      "aten::abs",
    "aten::neg",       "aten::square",   "aten::clamp",       "aten::clamp_min", "aten::clamp_max",
    "aten::softshrink"};

std::vector<Int8Kernel> make_table() {
  std::vector<Int8Kernel> table = {
      {"aten::add", Form::kTable, {}, {}, {}, has_constant_number},
      {"aten::sub", Form::kTable, {}, {}, {}, has_constant_number},
      {"aten::rsub", Form::kTable, {}, {}, {}, has_constant_number},
      {"aten::div", Form::kTable, {}, {}, {}, second_is_not_zero},
      {"aten::pow", Form::kTable, {}, {}, {}, has_whole_power},
      {"aten::mul",
       Form::kSame,
       "quantized::mul",
       {"self", "other"},
       Numbers::kMoved,
       second_is_not_zero,
       scaled_range},
      {"aten::add", Form::kBinary, {}, {}, {}, adds_tensors},
      {"aten::mul", Form::kBinary, {}, {}, {}, reads_two_tensors},
      {"aten::cat", Form::kCat, {}, {}, {}, is_list_for_itself},
      {"aten::hardswish", Form::kUnary, "quantized::hardswish", {"self"}},
      {"aten::sigmoid", Form::kUnary, "quantized::sigmoid", {"self"}},
      {"aten::leaky_relu",
       Form::kUnary,
       "quantized::leaky_relu",
       {"self", "negative_slope", "false"}},
      {"aten::prelu", Form::kUnary, "quantized::prelu", {"self", "weight in INT8"}, {}, has_slopes},
      {"aten::layer_norm",
       Form::kUnary,
       "quantized::layer_norm",
       {"input", "normalized_shape", "weight", "bias", "eps"}},
      {"aten::group_norm",
       Form::kUnary,
       "quantized::group_norm",
       {"input", "num_groups", "weight", "bias", "eps"}},
      {"aten::instance_norm",
       Form::kUnary,
       "quantized::instance_norm",
       {"input", "weight", "bias", "eps"},
       {},
       uses_input_statistics},
      {"aten::batch_norm",
       Form::kUnary,
       "quantized::batch_norm",
       {"input", "weight", "bias", "running_mean", "running_var", "eps"},
       {},
       is_not_training},
      {"aten::hardsigmoid", Form::kSame, {}, {}, Numbers::kRounded, nullptr, unit_range},
      {"aten::hardtanh", Form::kSame, {}, {}, Numbers::kRounded, has_constant_arguments},
      {"aten::clamp", Form::kSame, {}, {}, Numbers::kRounded, clamps_both_sides},
      {"aten::relu6", Form::kSame, {}, {}, Numbers::kRounded},
      {"aten::mean", Form::kSame, {}, {}, Numbers::kRounded, means_over_dims},
      {"aten::constant_pad_nd", Form::kSame, {}, {}, Numbers::kMoved, has_zero_value},
      {"aten::pad", Form::kSame, {}, {}, Numbers::kMoved, pads_with_zeros},
      {"aten::chunk", Form::kSame, {}, {}, Numbers::kMoved, is_only_unpacked},
      {"aten::split", Form::kSame, {}, {}, Numbers::kMoved, is_only_unpacked},
      {"aten::split_with_sizes", Form::kSame, {}, {}, Numbers::kMoved, is_only_unpacked},
      {"aten::unbind", Form::kSame, {}, {}, Numbers::kMoved, is_only_unpacked}};
  for (const char* op : kMoves) table.push_back({op, Form::kSame});
  for (const char* op : kAverages) table.push_back({op, Form::kSame, {}, {}, Numbers::kRounded});
  for (const char* op : kFunctions)
    table.push_back({op, Form::kTable, {}, {}, {}, has_constant_arguments});
  return table;
}

/// Rows of one op keep their order: the first that takes the arguments counts.
std::multimap<std::string, Int8Kernel> by_op() {
  std::multimap<std::string, Int8Kernel> rows;
  for (Int8Kernel& row : make_table()) rows.emplace(row.op, std::move(row));
  return rows;
}

}  // namespace

bool is_zero(const c10::IValue& value) {
  return (value.isInt() && value.toInt() == 0) || (value.isDouble() && value.toDouble() == 0);
}

const Int8Kernel* int8_kernel(const Node* node) {
  static const auto rows = by_op();
  if (node->inputs().empty() || node->outputs().empty()) return nullptr;
  const auto [first, last] = rows.equal_range(op_of(node));
  const auto row = std::find_if(first, last, [&](const auto& entry) {
    return entry.second.takes == nullptr || entry.second.takes(node);
  });
  return row == last ? nullptr : &row->second;
}

}  // namespace edgecompress
