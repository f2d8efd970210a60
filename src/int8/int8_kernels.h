// Which float ops can run on INT8 values, and how: a table with one row an op. The plan, the
// rewrite and the simulation of INT8 read it, so that an op is added by adding its row.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <optional>
#include <string>
#include <vector>

#include "int8/quantized.h"

namespace edgecompress {

enum class Int8Form {
  kConv,            ///< quantized::conv1d..3d(_relu) with packed weights
  kConvTransposed,  ///< quantized::conv_transpose1d..3d with packed weights of one scale
  kLinear,          ///< quantized::linear(_relu) with packed weights
  kBinary,          ///< quantized::add(_relu), quantized::mul(_relu)
  kCat,             ///< quantized::cat
  kUnary,           ///< a kernel that gives its output a range of its own; weights stay float
  kTable,           ///< a function of each number by itself: its 256 results, looked up
  kSame             ///< the range of the output follows from the input's
};

struct Int8Kernel {
  /// Of kSame: what its numbers are.
  enum class Numbers {
    kMoved,   ///< its input's, elsewhere: views, padding, maxima
    kRounded  ///< new ones, rounded to the output's range
  };

  std::string op;  ///< the float op: "aten::hardswish"
  Int8Form form;
  /// Of kUnary and kSame: the INT8 op and the float op's arguments that it takes, before the range
  /// of its output if that is its own ("weight in INT8": quantized first). Empty: the float op
  /// itself takes INT8 values.
  std::string kernel = {};
  std::vector<std::string> arguments = {};
  Numbers numbers = Numbers::kMoved;
  /// Conditions on the float op's arguments; null: none.
  bool (*takes)(const torch::jit::Node*) = nullptr;
  /// Of kSame: the range of the output for that of the input; null: the same.
  QuantizedRange (*range)(const torch::jit::Node*, QuantizedRange input) = nullptr;
};

/// The row of an op that has one and whose arguments it takes, else null. Convolutions and linear
/// layers, which depend on their weights, have no row.
const Int8Kernel* int8_kernel(const torch::jit::Node* node);

/// Whether a constant is the number 0.
bool is_zero(const c10::IValue& value);

}  // namespace edgecompress
