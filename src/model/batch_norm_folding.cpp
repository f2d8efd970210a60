#include "model/batch_norm_folding.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>

#include <unordered_map>

#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

// Inputs of aten::batch_norm.
constexpr std::size_t kGamma = 1, kBeta = 2, kMean = 3, kVariance = 4, kTraining = 5, kEpsilon = 7;

class Folder {
 public:
  explicit Folder(Model& model) : model_(model), graph_(model.edit()) {
    for (Layer& layer : find_layers(model)) {
      for (const std::string& name : layer.weights) ++readers_[name];
      if (layer.bias && model.attribute(*layer.bias).isNone()) layer.bias.reset();
      layers_.emplace(layer.node, std::move(layer));
    }
    if (!model.inputs().empty()) shapes_ = record_shapes(model, model.example_inputs(2));
  }

  BatchNormFolding run() {
    BatchNormFolding result;
    for (const Layer& layer : find_layers(model_)) {
      if (layer.kind != LayerKind::kBatchNorm) continue;
      const std::string reason = obstacle(layer);
      if (reason.empty()) {
        fold(layer);
        ++result.folded;
      } else {
        result.kept.push_back({layer.name, reason});
      }
    }
    if (result.folded > 0) {
      torch::jit::EliminateDeadCode(graph_);
      model_.remove_unused_attributes();
    }
    return result;
  }

 private:
  /// "" if the batch norm can be folded.
  std::string obstacle(const Layer& norm) const {
    const Node* node = norm.node;
    if (op_of(node) != "aten::batch_norm") return "it is not a batch norm op";
    if (!statistics_are_stored(node)) return "its statistics are not stored tensors";
    if (!runs_in_eval_mode(node)) return "it uses the statistics of the batch";
    const auto before = layers_.find(node->input(0)->node());
    if (before == layers_.end() || !takes_batch_norm(before->second)) {
      return "it follows " + op_of(node->input(0)->node()) + ", not a convolution or linear layer";
    }
    return obstacle(norm, before->second);
  }

  std::string obstacle(const Layer& norm, const Layer& layer) const {
    if (!layer.weight) return "the weight of '" + layer.name + "' is computed in the graph";
    if (!layer.bias && !is_none(bias_of(layer.node))) {
      return "the bias of '" + layer.name + "' is computed in the graph";
    }
    if (norm.node->input(0)->uses().size() != 1)
      return "others read the output of '" + layer.name + "' too";
    if (layer.node->owningBlock() != norm.node->owningBlock()) {
      return "a condition lies between it and '" + layer.name + "'";
    }
    if (readers_.at(*layer.weight) > 1 || (layer.bias && readers_.at(*layer.bias) > 1)) {
      return "the weights of '" + layer.name + "' are shared";
    }
    return channels_are_elsewhere(norm, layer);
  }

  /// A batch norm works on axis 1; a linear layer's channels are its last one.
  std::string channels_are_elsewhere(const Layer& norm, const Layer& layer) const {
    const auto shape = shapes_.find(norm.node->input(0));
    const std::int64_t needed =
        layer.kind == LayerKind::kLinear ? 2 : model_.tensor(*layer.weight).dim();
    if (shape == shapes_.end()) {
      return layer.kind == LayerKind::kLinear ? "the rank of its input is not known" : "";
    }
    if (static_cast<std::int64_t>(shape->second.sizes.size()) != needed) {
      return "it normalises another axis than the channels of '" + layer.name + "'";
    }
    return "";
  }

  void fold(const Layer& norm) {
    const Layer& layer = layers_.at(norm.node->input(0)->node());
    const bool is_transposed = layer.kind == LayerKind::kConvTransposed;
    std::int64_t groups = 1;
    if (is_transposed) groups = constant_of(layer.node->namedInput("groups"))->toInt();
    const FoldedWeights folded = fold_statistics(
        model_.tensor(*layer.weight), layer.bias ? model_.tensor(*layer.bias) : at::Tensor(),
        statistics(norm.node), is_transposed, groups);
    model_.set_tensor(*layer.weight, folded.weight);
    if (layer.bias) {
      model_.set_tensor(*layer.bias, folded.bias);
    } else {
      const std::string name = model_.add_parameter(layer.name + ".bias", folded.bias);
      Value* bias = insert_attribute(*graph_, model_, name);
      layer.node->replaceInputWith(bias_of(layer.node), bias);
    }
    norm.node->output()->replaceAllUsesWith(norm.node->input(0));
    norm.node->destroy();
  }

  BatchNormStatistics statistics(const Node* node) const {
    return {stored(node->input(kMean)), stored(node->input(kVariance)), stored(node->input(kGamma)),
            stored(node->input(kBeta)), constant_of(node->input(kEpsilon))->toDouble()};
  }

  bool statistics_are_stored(const Node* node) const {
    const auto is_stored = [&](std::size_t input) { return stored(node->input(input)).defined(); };
    const auto is_none_or_stored = [&](std::size_t input) {
      return is_none(node->input(input)) || is_stored(input);
    };
    return is_stored(kMean) && is_stored(kVariance) && is_none_or_stored(kGamma) &&
           is_none_or_stored(kBeta) && constant_of(node->input(kEpsilon)).has_value();
  }

  /// The tensor of an attribute or constant; undefined if there is none.
  at::Tensor stored(const Value* value) const {
    if (const auto constant = constant_of(value)) {
      return constant->isTensor() ? constant->toTensor() : at::Tensor();
    }
    const std::string path = attribute_path(value);
    if (path.empty() || !model_.has_attribute(path) || !model_.attribute(path).isTensor())
      return {};
    return model_.tensor(path);
  }

  static bool runs_in_eval_mode(const Node* node) {
    const auto training = constant_of(node->input(kTraining));
    return training ? !training->toBool() : !attribute_path(node->input(kTraining)).empty();
  }

  static bool takes_batch_norm(const Layer& layer) {
    const std::string op = op_of(layer.node);
    return op.rfind("aten::", 0) == 0 &&
           (layer.kind == LayerKind::kConv || layer.kind == LayerKind::kConvTransposed ||
            layer.kind == LayerKind::kLinear);
  }

  static Value* bias_of(Node* node) { return node->namedInput("bias"); }

  /// A bias of type `Tensor?` may be None behind its attribute.
  bool is_none(const Value* value) const {
    const auto constant = constant_of(value);
    if (constant) return constant->isNone();
    const std::string path = attribute_path(value);
    return !path.empty() && model_.has_attribute(path) && model_.attribute(path).isNone();
  }

  Model& model_;
  std::shared_ptr<torch::jit::Graph> graph_;
  std::unordered_map<const Node*, Layer> layers_;
  std::unordered_map<std::string, int> readers_;
  ShapeMap shapes_;
};

}  // namespace

FoldedWeights fold_statistics(const at::Tensor& weight, const at::Tensor& bias,
                              const BatchNormStatistics& statistics, bool is_transposed,
                              std::int64_t groups) {
  const at::NoGradGuard no_grad;
  const auto as_double = [](const at::Tensor& tensor) { return tensor.to(at::kDouble); };
  at::Tensor factor = (as_double(statistics.variance) + statistics.epsilon).rsqrt();
  if (statistics.gamma.defined()) factor = factor * as_double(statistics.gamma);

  const at::Tensor wide = as_double(weight);
  at::Tensor scaled;
  if (is_transposed) {
    // [in, out / groups, ...] as [groups, in / groups, out / groups, ...].
    std::vector<std::int64_t> grouped = wide.sizes().vec();
    grouped[0] /= groups;
    grouped.insert(grouped.begin(), groups);
    std::vector<std::int64_t> per_group(grouped.size(), 1);
    per_group[0] = groups;
    per_group[2] = grouped[2];
    scaled = (wide.reshape(grouped) * factor.reshape(per_group)).reshape(weight.sizes());
  } else {
    std::vector<std::int64_t> per_channel(static_cast<std::size_t>(wide.dim()), 1);
    per_channel[0] = wide.size(0);
    scaled = wide * factor.reshape(per_channel);
  }

  at::Tensor shift = -as_double(statistics.mean);
  if (bias.defined()) shift = shift + as_double(bias);
  shift = shift * factor;
  if (statistics.beta.defined()) shift = shift + as_double(statistics.beta);
  return {scaled.to(weight.scalar_type()), shift.to(weight.scalar_type())};
}

BatchNormFolding fold_batch_norms(Model& model) { return Folder(model).run(); }

}  // namespace edgecompress
