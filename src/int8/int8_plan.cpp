#include "int8/int8_plan.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

/// True for a clamp to [0, bound], which INT8 does by saturating: zero is the lowest value of its
/// range, `bound` at least its highest.
bool clamps_at_zero(const Node* node) {
  const std::string op = op_of(node);
  if (op == "aten::relu" || op == "aten::relu6") return true;
  if (op == "aten::hardtanh") {
    return is_zero(constant_argument(node, "min_val")) && constant_of(node->namedInput("max_val"));
  }
  if (op == "aten::clamp") {
    return is_zero(constant_argument(node, "min")) && constant_of(node->namedInput("max"));
  }
  return op == "aten::clamp_min" && is_zero(constant_argument(node, "min"));
}

Node* fused_activation(const Node* node) {
  const Value* output = node->outputs()[0];
  if (output->uses().size() != 1) return nullptr;
  Node* user = output->uses()[0].user;
  const bool is_next = user->owningBlock() == node->owningBlock() && clamps_at_zero(user) &&
                       user->inputs()[0] == output && !is_written(user->outputs()[0]);
  return is_next ? user : nullptr;
}

/// Norms and the like, whose few weights go with the op: the table of kernels knows them.
bool has_kernel_of_its_own(const Layer& layer) {
  return layer.kind == LayerKind::kBatchNorm || layer.kind == LayerKind::kNorm ||
         layer.kind == LayerKind::kOther;
}

bool is_convolution(const Layer& layer) {
  return layer.kind == LayerKind::kConv || layer.kind == LayerKind::kConvTransposed;
}

/// Of layers whose weights can't be INT8 and that have no kernel with float ones; else "".
std::string obstacle_by_kind(LayerKind kind) {
  switch (kind) {
    case LayerKind::kConv:
    case LayerKind::kConvTransposed:
    case LayerKind::kLinear:
    case LayerKind::kBatchNorm:
    case LayerKind::kNorm:
    case LayerKind::kOther:
      return "";
    case LayerKind::kMatmul:
      return "LibTorch has no INT8 kernel for products of two activations";
    case LayerKind::kEmbedding:
      return "embeddings stay float";
    case LayerKind::kLstm:
    case LayerKind::kGru:
      return "LSTM and GRU have no static INT8 kernel; dynamic_rnn gives them a dynamic one";
    case LayerKind::kRnn:
      return "plain RNNs have no INT8 kernel";
  }
  return "";
}

Int8Form form_of(const Layer& layer) {
  if (layer.kind == LayerKind::kLinear) return Int8Form::kLinear;
  return layer.kind == LayerKind::kConv ? Int8Form::kConv : Int8Form::kConvTransposed;
}

class Int8Planner {
 public:
  Int8Planner(Model& model, const LayerRefusal& refusal,
              const std::function<bool(const Value*)>& has_range)
      : model_(model), has_range_(has_range), layers_(find_layers(model)) {
    for (Layer& layer : layers_) {
      if (layer.bias && model.attribute(*layer.bias).isNone()) layer.bias.reset();
      const std::string obstacle = obstacle_of(layer, refusal);
      if (!obstacle.empty()) {
        reasons_[layer.node] = obstacle;
      } else {
        possible_.emplace(layer.node, &layer);
        if (!has_kernel_of_its_own(layer)) quantized_inputs_.insert(layer.node->input(0));
      }
    }
  }

  Int8Plan run() {
    visit(model_.graph().block());
    drop_ops_for_float_readers();
    Int8Plan plan;
    plan.measured = values_to_measure();
    plan.float_layers = float_layers();
    plan.ops = std::move(ops_);
    return plan;
  }

 private:
  void visit(const torch::jit::Block* block) {
    for (Node* node : const_cast<torch::jit::Block*>(block)->nodes()) {
      for (const torch::jit::Block* nested : node->blocks()) visit(nested);
      if (auto op = plan_node(node)) add(std::move(*op));
    }
  }

  std::optional<Int8Op> plan_node(Node* node) {
    if (fused_.count(node) || reasons_.count(node)) return std::nullopt;
    const auto layer = possible_.find(node);
    if (layer != possible_.end() && !has_kernel_of_its_own(*layer->second))
      return plan_layer(*layer->second);
    const Int8Kernel* kernel = int8_kernel(node);
    if (kernel == nullptr) return std::nullopt;
    Int8Op op;
    op.form = kernel->form;
    op.node = node;
    if (layer != possible_.end()) op.norm = layer->second->name;
    if (op.form == Int8Form::kBinary) op.activation = fused_activation(node);
    const bool is_reached = !op.has_own_range() || has_range_(op.output());
    if (!is_reached || is_written(op.output()) || !reads_int8(op)) return std::nullopt;
    return op;
  }

  std::optional<Int8Op> plan_layer(const Layer& layer) {
    Int8Op op;
    op.form = form_of(layer);
    op.node = layer.node;
    op.layer = layer;
    if (is_convolution(layer)) op.geometry = *geometry_of(layer);
    // LibTorch has no transposed convolution with a ReLU.
    if (op.form != Int8Form::kConvTransposed) op.activation = fused_activation(layer.node);
    const Value* input = layer.node->input(0);
    if (has_range_(op.output()) && (int8_.count(input) || has_range_(input))) return op;
    reasons_[layer.node] = "no calibration data reached it in float32";
    return std::nullopt;
  }

  /// One operand must be INT8 already, the others may be made so for a layer anyway.
  bool reads_int8(const Int8Op& op) const {
    const std::vector<Value*> operands = op.operands();
    const auto is_int8 = [&](const Value* value) { return int8_.count(value) > 0; };
    const auto is_available = [&](const Value* value) {
      return is_int8(value) || (quantized_inputs_.count(value) && has_range_(value));
    };
    return std::any_of(operands.begin(), operands.end(), is_int8) &&
           std::all_of(operands.begin(), operands.end(), is_available);
  }

  void add(Int8Op op) {
    if (op.activation) fused_.insert(op.activation);
    const Node* last = op.activation ? op.activation : op.node;
    int8_.insert(last->outputs().begin(), last->outputs().end());
    ops_.push_back(std::move(op));
  }

  /// Of ops that round once more; those that only move or join INT8 values save room.
  void drop_ops_for_float_readers() {
    std::unordered_set<const Value*> read;
    for (auto op = ops_.rbegin(); op != ops_.rend(); ++op) {
      const bool rounds = op->form == Int8Form::kUnary || op->form == Int8Form::kTable;
      if (rounds && !read.count(op->output())) {
        op->node = nullptr;
        continue;
      }
      for (const Value* operand : op->operands()) read.insert(operand);
    }
    ops_.erase(std::remove_if(ops_.begin(), ops_.end(),
                              [](const Int8Op& op) { return op.node == nullptr; }),
               ops_.end());
  }

  std::vector<const Value*> values_to_measure() const {
    std::vector<const Value*> measured;
    std::unordered_set<const Value*> known;
    const auto measure = [&](const Value* value) {
      if (known.insert(value).second) measured.push_back(value);
    };
    for (const Int8Op& op : ops_) {
      for (const Value* operand : op.operands()) {
        if (!int8_.count(operand)) measure(operand);
      }
      if (op.has_own_range()) measure(op.output());
    }
    return measured;
  }

  std::vector<Int8Layer> float_layers() {
    std::unordered_set<const Node*> planned;
    for (const Int8Op& op : ops_) planned.insert(op.node);
    std::vector<Int8Layer> result;
    for (const Layer& layer : layers_) {
      if (planned.count(layer.node)) continue;
      const auto reason = reasons_.find(layer.node);
      result.push_back(
          {layer.name,
           false,
           reason == reasons_.end() ? "it does not stand between INT8 ops" : reason->second,
           {},
           layer.node});
    }
    return result;
  }

  /// "" if the layer can be INT8.
  std::string obstacle_of(const Layer& layer, const LayerRefusal& refusal) const {
    const std::string op = op_of(layer.node);
    if (op.rfind("quantized::", 0) == 0) return "it is INT8 already";
    if (op == "aten::_convolution" || op == "aten::convolution")
      return op + " is not a canonical op";
    if (std::string obstacle = obstacle_by_kind(layer.kind); !obstacle.empty()) return obstacle;
    if (std::string reason = refusal(layer); !reason.empty()) return reason;
    if (is_written(layer.node->input(0)) || is_written(layer.node->outputs()[0]))
      return "its input or output is changed in place";
    if (has_kernel_of_its_own(layer))
      return int8_kernel(layer.node) ? "" : op + " has no INT8 kernel for these arguments";
    if (!layer.weight) return "its weight is computed in the graph";
    if (model_.tensor(*layer.weight).scalar_type() != at::kFloat)
      return "its weight is not float32";
    if (!layer.bias && !bias_is_none(layer.node)) return "its bias is computed in the graph";
    return is_convolution(layer) ? obstacle_of_geometry(layer) : "";
  }

  std::string obstacle_of_geometry(const Layer& layer) const {
    const auto geometry = geometry_of(layer);
    if (!geometry) return "its stride, padding or groups are not constants that INT8 kernels take";
    const auto& extra = geometry->output_padding;
    const bool is_padded =
        std::any_of(extra.begin(), extra.end(), [](std::int64_t size) { return size != 0; });
    return is_padded ? "INT8 kernels of transposed convolutions pad no output" : "";
  }

  bool bias_is_none(const Node* node) const {
    const Value* bias = node->namedInput("bias");
    if (const auto constant = constant_of(bias)) return constant->isNone();
    const std::string path = attribute_path(bias);
    return !path.empty() && model_.has_attribute(path) && model_.attribute(path).isNone();
  }

  std::optional<ConvGeometry> geometry_of(const Layer& layer) const {
    return conv_geometry(layer.node, model_.tensor(*layer.weight).sizes());
  }

  Model& model_;
  const std::function<bool(const Value*)>& has_range_;
  std::vector<Layer> layers_;
  std::unordered_map<const Node*, const Layer*> possible_;
  std::unordered_map<const Node*, std::string> reasons_;  // why layers stay float
  std::unordered_set<const Value*> quantized_inputs_;     // of layers that may be INT8
  std::unordered_set<const Value*> int8_;
  std::unordered_set<const Node*> fused_;
  std::vector<Int8Op> ops_;
};

}  // namespace

std::vector<Value*> Int8Op::operands() const {
  if (form == Form::kCat) return node->input(0)->node()->inputs().vec();
  if (form == Form::kBinary) return {node->input(0), node->input(1)};
  return {node->input(0)};
}

Int8Plan plan_static_int8(Model& model, const LayerRefusal& refusal,
                          const std::function<bool(const Value*)>& has_range) {
  return Int8Planner(model, refusal, has_range).run();
}

}  // namespace edgecompress
