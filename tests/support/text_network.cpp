#include "support/text_network.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <regex>

namespace edgecompress::testing {
namespace {

using torch::jit::Module;

/// "[n, n]", of `rank` elements.
std::string list_of(std::int64_t number, std::size_t rank) {
  std::string text = std::to_string(number);
  for (std::size_t i = 1; i < rank; ++i) text += ", " + std::to_string(number);
  return "[" + text + "]";
}

TensorShapes weight_and_bias(std::vector<std::int64_t> weight, std::int64_t channels) {
  return {{"weight", std::move(weight)}, {"bias", {channels}}};
}

std::string forward_of(const std::string& expression) {
  return "def forward(self, x):\n  return torch." + expression + "\n";
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

at::Tensor draw(const std::string& name, const std::vector<std::int64_t>& shape,
                at::Generator& generator) {
  if (starts_with(name, "index")) return at::randint(0, 9, shape, generator, at::kLong);
  const at::Tensor unit = at::rand(shape, generator, at::kDouble);
  if (name == "running_var") return unit + 0.5;
  if (shape.size() == 1) return name == "weight" ? unit + 0.5 : unit - 0.5;
  double fan_in = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) fan_in *= static_cast<double>(shape[i]);
  return (unit * 2 - 1) * std::sqrt(3 / fan_in);
}

void add_tensors(Module& module, const TensorShapes& tensors, at::Generator& generator) {
  for (const auto& [name, shape] : tensors) {
    const bool is_buffer = starts_with(name, "running_") || starts_with(name, "index");
    module.register_parameter(name, draw(name, shape, generator), is_buffer);
  }
}

}  // namespace

TextLayer conv(const std::string& name, const ConvShape& shape) {
  std::vector<std::int64_t> weight{shape.out, shape.in / shape.groups};
  weight.resize(2 + shape.rank, shape.kernel);
  return {name, weight_and_bias(weight, shape.out),
          forward_of(fmt::format("conv{}d(x, self.weight, self.bias, {}, {}, {}, {})", shape.rank,
                                 list_of(shape.stride, shape.rank),
                                 list_of(shape.kernel / 2, shape.rank), list_of(1, shape.rank),
                                 shape.groups))};
}

TextLayer conv_transpose(const std::string& name, std::int64_t in, std::int64_t out,
                         std::int64_t groups, std::size_t rank) {
  std::vector<std::int64_t> weight{in, out / groups};
  weight.resize(2 + rank, 2);
  return {
      name, weight_and_bias(weight, out),
      forward_of(fmt::format("conv_transpose{}d(x, self.weight, self.bias, {}, {}, {}, {})", rank,
                             list_of(2, rank), list_of(0, rank), list_of(0, rank), groups))};
}

TextLayer linear(const std::string& name, std::int64_t out, std::int64_t in, bool has_bias) {
  if (!has_bias) {
    return {name, {{"weight", {out, in}}}, forward_of("linear(x, self.weight, None)")};
  }
  return {name, weight_and_bias({out, in}, out), forward_of("linear(x, self.weight, self.bias)")};
}

TextLayer batch_norm(const std::string& name, std::int64_t channels) {
  TensorShapes tensors = weight_and_bias({channels}, channels);
  tensors.push_back({"running_mean", {channels}});
  tensors.push_back({"running_var", {channels}});
  return {name, tensors,
          forward_of("batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var, "
                     "False, 0.1, 1e-5, True)")};
}

TextLayer layer_norm(const std::string& name, std::int64_t channels) {
  return {
      name, weight_and_bias({channels}, channels),
      forward_of(fmt::format("layer_norm(x, [{}], self.weight, self.bias, 1e-3, True)", channels))};
}

TextLayer group_norm(const std::string& name, std::int64_t groups, std::int64_t channels) {
  return {name, weight_and_bias({channels}, channels),
          forward_of(fmt::format("group_norm(x, {}, self.weight, self.bias, 1e-3, True)", groups))};
}

TextLayer instance_norm(const std::string& name, std::int64_t channels) {
  return {
      name, weight_and_bias({channels}, channels),
      forward_of("instance_norm(x, self.weight, self.bias, None, None, True, 0.1, 1e-3, True)")};
}

TextLayer prelu(const std::string& name, std::int64_t weights) {
  return {name, {{"weight", {weights}}}, forward_of("prelu(x, self.weight)")};
}

TextLayer embedding(const std::string& name, std::int64_t count, std::int64_t width) {
  return {name, {{"weight", {count, width}}}, forward_of("embedding(self.weight, x)")};
}

TextLayer recurrent(const std::string& name, const RecurrentShape& shape) {
  const bool is_lstm = shape.kind == Recurrence::kLstm;
  const std::int64_t directions = shape.is_bidirectional ? 2 : 1;
  const std::int64_t gates = (is_lstm ? 4 : 3) * shape.hidden;
  TextLayer layer{name, {}, ""};
  std::string weights;
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    for (std::int64_t direction = 0; direction < directions; ++direction) {
      const std::string suffix = fmt::format("_l{}{}", i, direction == 1 ? "_reverse" : "");
      const std::int64_t in = i == 0 ? shape.in : shape.hidden * directions;
      layer.tensors.push_back({"weight_ih" + suffix, {gates, in}});
      layer.tensors.push_back({"weight_hh" + suffix, {gates, shape.hidden}});
      layer.tensors.push_back({"bias_ih" + suffix, {gates}});
      layer.tensors.push_back({"bias_hh" + suffix, {gates}});
    }
  }
  for (const auto& tensor : layer.tensors) {
    weights += (weights.empty() ? "self." : ", self.") + tensor.first;
  }
  const std::string zeros = fmt::format("torch.zeros([{}, x.size(0), {}], dtype=x.dtype)",
                                        shape.layers * directions, shape.hidden);
  const std::string h = shape.takes_states ? "h" : zeros, c = shape.takes_states ? "c" : zeros;
  const std::string parameters = !shape.takes_states ? "self, x"
                                 : is_lstm           ? "self, x, h, c"
                                                     : "self, x, h";
  layer.forward = fmt::format(
      "def forward({}):\n  return torch.{}(x, {}, [{}], True, {}, 0.0, False, {}, True)[0]\n",
      parameters, is_lstm ? "lstm" : "gru", is_lstm ? "[" + h + ", " + c + "]" : h, weights,
      shape.layers, shape.is_bidirectional ? "True" : "False");
  return layer;
}

Model make_text_network(const TextNetwork& network, std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  Module root("__torch__.Net");
  root.register_attribute("training", c10::BoolType::get(), false);
  for (const TextLayer& layer : network.layers) {
    if (layer.name.empty()) {
      add_tensors(root, layer.tensors, generator);
      continue;
    }
    Module module("__torch__.Layer");
    add_tensors(module, layer.tensors, generator);
    module.define(layer.forward);
    root.register_module(layer.name, module);
  }
  static const std::regex call("self[.](\\w+)[(]");
  root.define(std::regex_replace(network.forward, call, "self.$1.forward("));
  return Model::from_module(root, network.inputs);
}

std::string to_text(const TextNetwork& network) {
  std::string text = network.forward;
  for (const TextLayer& layer : network.layers) {
    for (const auto& [name, shape] : layer.tensors) {
      text += fmt::format("{}.{} [{}]\n", layer.name, name, fmt::join(shape, ", "));
    }
    text += layer.forward;
  }
  for (const InputSpec& input : network.inputs) {
    text += fmt::format("input {} [{}]\n", input.dtype, fmt::join(input.shape, ", "));
  }
  return text;
}

InputSpec float_input(std::vector<std::int64_t> shape) {
  InputSpec spec;
  spec.shape = std::move(shape);
  spec.dtype = "float64";
  return spec;
}

InputSpec index_input(std::vector<std::int64_t> shape, std::int64_t high) {
  InputSpec spec;
  spec.shape = std::move(shape);
  spec.dtype = "int64";
  spec.high = high;
  return spec;
}

}  // namespace edgecompress::testing
