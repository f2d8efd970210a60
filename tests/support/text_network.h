// Networks as TorchScript text: a forward, and the layers that it calls.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/model.h"

namespace edgecompress::testing {

/// By name. "running_..." are buffers, "index..." buffers of integers in [0, 9).
using TensorShapes = std::vector<std::pair<std::string, std::vector<std::int64_t>>>;

struct TextLayer {
  std::string name;  ///< "": its tensors belong to the network itself
  TensorShapes tensors;
  std::string forward;
};

struct ConvShape {
  std::int64_t out, in, kernel = 3, groups = 1, stride = 1;
  std::size_t rank = 2;
};
/// Padded by half its kernel, so that stride 1 keeps the size.
TextLayer conv(const std::string& name, const ConvShape& shape);
/// Kernel 2, stride 2: doubles the size.
TextLayer conv_transpose(const std::string& name, std::int64_t in, std::int64_t out,
                         std::int64_t groups = 1, std::size_t rank = 2);
TextLayer linear(const std::string& name, std::int64_t out, std::int64_t in, bool has_bias = true);
TextLayer batch_norm(const std::string& name, std::int64_t channels);
TextLayer layer_norm(const std::string& name, std::int64_t channels);
TextLayer group_norm(const std::string& name, std::int64_t groups, std::int64_t channels);
TextLayer instance_norm(const std::string& name, std::int64_t channels);
TextLayer prelu(const std::string& name, std::int64_t weights);
TextLayer embedding(const std::string& name, std::int64_t count, std::int64_t width);

enum class Recurrence { kLstm, kGru };
struct RecurrentShape {
  Recurrence kind;
  std::int64_t in, hidden, layers = 1;
  bool is_bidirectional = false;
  /// forward(x, h) or forward(x, h, c) instead of states of zeros.
  bool takes_states = false;
};
TextLayer recurrent(const std::string& name, const RecurrentShape& shape);

struct TextNetwork {
  std::string forward;  ///< in which self.name(x) calls a layer
  std::vector<TextLayer> layers;
  std::vector<InputSpec> inputs;
};

/// Tensors are drawn from a seeded generator, scaled by their fan-in, in double precision: what
/// should be equal is then equal to many digits. Floating inputs must be float64 as well.
Model make_text_network(const TextNetwork& network, std::uint64_t seed = 1);
/// Of a network, to be read: its forward, and its layers with their shapes.
std::string to_text(const TextNetwork& network);

/// An input of float64.
InputSpec float_input(std::vector<std::int64_t> shape);
/// An input of indices in [0, high).
InputSpec index_input(std::vector<std::int64_t> shape, std::int64_t high);

}  // namespace edgecompress::testing
