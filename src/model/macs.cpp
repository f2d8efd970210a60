// Multiply-accumulates of one run, from the shapes that the run gives.
#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <unordered_map>

#include "int8/quantized.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "util/text.h"

namespace edgecompress {

using torch::jit::Node;

namespace {

using Values = c10::ArrayRef<c10::IValue>;
using MacRule = std::function<std::int64_t(const std::string& op, Values inputs, Values outputs)>;

std::int64_t per_output_channel(const at::Tensor& weight) {
  return weight.size(0) == 0 ? 0 : weight.numel() / weight.size(0);
}

/// Each output element is a sum over the kernel and the input channels of its group.
std::int64_t conv_macs(const at::Tensor& weight, const at::Tensor& output) {
  return output.numel() * per_output_channel(weight);
}

/// Each input element is spread over the kernel and the output channels of its group; the weight is
/// [in, out / groups, ...].
std::int64_t conv_transposed_macs(const at::Tensor& weight, const at::Tensor& input) {
  return input.numel() * per_output_channel(weight);
}

std::int64_t matmul_macs(const at::Tensor& left, const at::Tensor& output) {
  return output.numel() * left.size(-1);
}

/// softmax(q k^T) v, with q [..., L, E], k [..., S, E], v [..., S, V].
std::int64_t attention_macs(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::int64_t queries = q.size(-1) == 0 ? 0 : q.numel() / q.size(-1);
  return queries * k.size(-2) * (q.size(-1) + v.size(-1));
}

/// q, k, v [n, tokens, features]: projections in, attention over all heads, projection out.
std::int64_t multi_head_attention_macs(Values inputs) {
  const at::Tensor &q = inputs[0].toTensor(), &k = inputs[1].toTensor(), &v = inputs[2].toTensor();
  const std::int64_t features = inputs[3].toInt();
  const std::int64_t projections = (2 * q.numel() + k.numel() + v.numel()) * features;
  return projections + attention_macs(q, k, v);
}

std::int64_t numel_of_matrices(const at::Tensor& tensor) {
  return tensor.dim() == 2 ? tensor.numel() : 0;
}

/// Every weight matrix, of every layer and direction, is applied once a time step.
std::int64_t recurrent_macs(Values inputs) {
  const at::Tensor& sequence = inputs[0].toTensor();
  const std::int64_t steps = sequence.size(-1) == 0 ? 0 : sequence.numel() / sequence.size(-1);
  std::int64_t weights = 0;
  for (const c10::IValue& input : inputs.slice(2)) {
    if (input.isTensor() && input.toTensor().defined()) {
      weights += numel_of_matrices(input.toTensor());
    } else if (input.isTensorList()) {
      for (const at::Tensor& tensor : input.toTensorVector()) weights += numel_of_matrices(tensor);
    }
  }
  return steps * weights;
}

/// The same where the weights are packed: (input, hx, params, has_biases, layers, dropout, train,
/// bidirectional, ...).
std::int64_t quantized_recurrent_macs(std::int64_t gates, Values inputs) {
  const at::Tensor& sequence = inputs[0].toTensor();
  const at::Tensor state =
      inputs[1].isTensor() ? inputs[1].toTensor() : inputs[1].toTensorVector()[0];
  const std::int64_t hidden = state.size(-1), features = sequence.size(-1);
  const std::int64_t layers = inputs[4].toInt(), directions = inputs[7].toBool() ? 2 : 1;
  const std::int64_t steps = features == 0 ? 0 : sequence.numel() / features;
  const std::int64_t first = features + hidden, other = directions * hidden + hidden;
  return steps * directions * gates * hidden * (first + (layers - 1) * other);
}

std::int64_t quantized_macs(const std::string& op, Values inputs, Values outputs) {
  const at::Tensor& output = outputs[0].toTensor();
  const at::Tensor weight = unpacked_weight(op, inputs[1]);
  return starts_with(op, "quantized::conv_transpose")
             ? conv_transposed_macs(weight, inputs[0].toTensor())
             : conv_macs(weight, output);
}

const std::map<std::string, MacRule>& rules() {
  static const std::map<std::string, MacRule> rules = [] {
    std::map<std::string, MacRule> by_op;
    const auto add = [&](const std::vector<const char*>& ops, const MacRule& rule) {
      for (const char* op : ops) by_op[op] = rule;
    };
    add({"aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::linear"},
        [](const std::string&, Values in, Values out) {
          return conv_macs(in[1].toTensor(), out[0].toTensor());
        });
    add({"aten::conv_transpose1d", "aten::conv_transpose2d", "aten::conv_transpose3d"},
        [](const std::string&, Values in, Values) {
          return conv_transposed_macs(in[1].toTensor(), in[0].toTensor());
        });
    add({"aten::convolution", "aten::_convolution"}, [](const std::string&, Values in, Values out) {
      return in[6].toBool() ? conv_transposed_macs(in[1].toTensor(), in[0].toTensor())
                            : conv_macs(in[1].toTensor(), out[0].toTensor());
    });
    add({"aten::matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::dot"},
        [](const std::string&, Values in, Values out) {
          return matmul_macs(in[0].toTensor(), out[0].toTensor());
        });
    add({"aten::addmm", "aten::baddbmm"}, [](const std::string&, Values in, Values out) {
      return matmul_macs(in[1].toTensor(), out[0].toTensor());
    });
    add({"aten::scaled_dot_product_attention", "aten::_scaled_dot_product_attention"},
        [](const std::string&, Values in, Values) {
          return attention_macs(in[0].toTensor(), in[1].toTensor(), in[2].toTensor());
        });
    add({"aten::_native_multi_head_attention"},
        [](const std::string&, Values in, Values) { return multi_head_attention_macs(in); });
    add({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu", "aten::lstm_cell",
         "aten::gru_cell", "aten::rnn_tanh_cell", "aten::rnn_relu_cell"},
        [](const std::string&, Values in, Values) { return recurrent_macs(in); });
    add({"aten::quantized_lstm"},
        [](const std::string&, Values in, Values) { return quantized_recurrent_macs(4, in); });
    add({"aten::quantized_gru"},
        [](const std::string&, Values in, Values) { return quantized_recurrent_macs(3, in); });
    return by_op;
  }();
  return rules;
}

bool has_packed_weight(const Node* node) {
  const std::string op = op_of(node);
  return (starts_with(op, "quantized::conv") || starts_with(op, "quantized::linear")) &&
         node->inputs().size() > 1 && node->outputs().size() == 1 &&
         node->input(1)->type()->cast<c10::ClassType>() &&
         node->output()->type()->isSubtypeOf(*c10::TensorType::get());
}

}  // namespace

std::int64_t macs_of(const Node& node, Values inputs, Values outputs) {
  const std::string op = op_of(&node);
  if (has_packed_weight(&node)) return quantized_macs(op, inputs, outputs);
  const auto rule = rules().find(op);
  return rule == rules().end() ? 0 : rule->second(op, inputs, outputs);
}

std::vector<NodeMacs> count_macs(const Model& model, const std::vector<at::Tensor>& inputs) {
  const at::NoGradGuard no_gradients;
  std::unordered_map<const Node*, std::string> layer_names;
  for (const Layer& layer : find_layers(model)) layer_names[layer.node] = layer.name;
  std::vector<NodeMacs> result;
  std::unordered_map<const Node*, std::size_t> places;
  std::map<std::string, std::size_t> unnamed;
  const std::vector<c10::IValue> values(inputs.begin(), inputs.end());
  Interpreter(model).run(values, [&](const Node& node, Values in, Values out) {
    const std::int64_t macs = macs_of(node, in, out);
    if (macs == 0) return;
    const auto [place, is_new] = places.emplace(&node, result.size());
    if (!is_new) {  // inside a loop: one entry for all turns
      result[place->second].macs += macs;
      return;
    }
    const std::string op = op_of(&node);
    const auto layer = layer_names.find(&node);
    std::string name = layer != layer_names.end()
                           ? layer->second
                           : op.substr(op.find("::") + 2) + "#" + std::to_string(++unnamed[op]);
    const auto sizes =
        out[0].isTensor() ? out[0].toTensor().sizes().vec() : std::vector<std::int64_t>();
    result.push_back({&node, std::move(name), op, macs, sizes});
  });
  return result;
}

}  // namespace edgecompress
