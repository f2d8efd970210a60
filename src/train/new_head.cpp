#include "train/new_head.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "edgecompress/error.h"
#include "model/layers.h"
#include "model/torch_error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

using torch::jit::Node;
using torch::jit::Value;

constexpr const char* kNameTheLayer = "name the layer to replace in head.layer";

/// Of the first input, class by class.
bool keeps_classes_apart(const std::string& op) {
  static const std::set<std::string> ops = {"softmax",
                                            "log_softmax",
                                            "sigmoid",
                                            "log_sigmoid",
                                            "hardsigmoid",
                                            "tanh",
                                            "relu",
                                            "relu6",
                                            "hardtanh",
                                            "leaky_relu",
                                            "elu",
                                            "gelu",
                                            "silu",
                                            "softplus",
                                            "clamp",
                                            "exp",
                                            "log",
                                            "neg",
                                            "dropout",
                                            "feature_dropout",
                                            "to",
                                            "type_as",
                                            "contiguous",
                                            "clone",
                                            "detach",
                                            "flatten",
                                            "view",
                                            "reshape",
                                            "squeeze",
                                            "unsqueeze",
                                            "permute",
                                            "transpose",
                                            "t",
                                            "select",
                                            "slice",
                                            "mean",
                                            "sum",
                                            "amax",
                                            "avg_pool1d",
                                            "avg_pool2d",
                                            "avg_pool3d",
                                            "adaptive_avg_pool1d",
                                            "adaptive_avg_pool2d",
                                            "adaptive_avg_pool3d",
                                            "max_pool1d",
                                            "max_pool2d",
                                            "adaptive_max_pool2d",
                                            "upsample_nearest2d",
                                            "upsample_bilinear2d"};
  std::string name = op.substr(op.find("::") + 2);
  if (!name.empty() && name.back() == '_') name.pop_back();  // in place
  return ops.count(name) > 0;
}

bool is_arithmetic(const std::string& op) {
  return op == "aten::add" || op == "aten::sub" || op == "aten::mul" || op == "aten::div" ||
         op == "aten::add_" || op == "aten::sub_" || op == "aten::mul_" || op == "aten::div_";
}

bool can_be_head(const Layer& layer) {
  return layer.kind == LayerKind::kLinear || layer.kind == LayerKind::kConv;
}

/// Goes back from the network's outputs to the layers that they come from.
class HeadSearch {
 public:
  explicit HeadSearch(const std::vector<Layer>& layers) {
    for (const Layer& layer : layers) layers_.emplace(layer.node, &layer);
  }

  void follow(const Value* value) {
    const Node* node = value->node();
    if (node->kind() == c10::prim::Constant || !seen_.insert(value).second) return;
    const std::string op = op_of(node);
    const auto layer = layers_.find(node);
    if (layer != layers_.end() && can_be_head(*layer->second)) {
      heads_.push_back(layer->second);
    } else if (layer == layers_.end() && is_construction(node)) {
      for (const Value* input : node->inputs()) follow(input);
    } else if (layer == layers_.end() && keeps_classes_apart(op)) {
      follow(node->input(0));
    } else if (const Value* operand = scaled_operand(node, op)) {
      follow(operand);
    } else {
      in_the_way_.push_back(layer == layers_.end() ? op : op + " of " + layer->second->name);
    }
  }

  const std::vector<const Layer*>& heads() const { return heads_; }
  const std::vector<std::string>& in_the_way() const { return in_the_way_; }

 private:
  static bool is_construction(const Node* node) {
    const auto kind = node->kind();
    return kind == c10::prim::TupleConstruct || kind == c10::prim::ListConstruct ||
           kind == c10::prim::DictConstruct;
  }
  /// What is added to or multiplied by a number.
  static const Value* scaled_operand(const Node* node, const std::string& op) {
    if (!is_arithmetic(op)) return nullptr;
    if (constant_of(node->input(1))) return node->input(0);
    return constant_of(node->input(0)) ? node->input(1) : nullptr;
  }

  std::unordered_map<const Node*, const Layer*> layers_;
  std::unordered_set<const Value*> seen_;
  std::vector<const Layer*> heads_;
  std::vector<std::string> in_the_way_;
};

[[noreturn]] void fail(const std::string& what, const std::string& hint) {
  throw Error(ExitCode::kPass, "head: " + what, hint);
}

/// Names of the last layers that could be one.
std::string candidates(const std::vector<Layer>& layers) {
  constexpr std::size_t kMost = 5;
  std::vector<std::string> names;
  for (auto layer = layers.rbegin(); layer != layers.rend() && names.size() < kMost; ++layer) {
    const bool is_new = std::find(names.begin(), names.end(), layer->name) == names.end();
    if (can_be_head(*layer) && is_new) names.push_back(layer->name);
  }
  return names.empty() ? "it has no linear layer and no convolution"
                       : "the last are " + join(names, ", ");
}

const Layer& find_head(const Model& model, const std::vector<Layer>& layers) {
  HeadSearch search(layers);
  for (const Value* output : model.graph().outputs()) search.follow(output);
  if (search.heads().size() == 1) return *search.heads().front();
  const std::string hint = fmt::format("{} ({})", kNameTheLayer, candidates(layers));
  if (search.heads().empty()) {
    fail("no linear layer or convolution was found whose output is the network's: in the way is " +
             join(search.in_the_way(), ", "),
         hint);
  }
  std::vector<std::string> names;
  for (const Layer* layer : search.heads()) names.push_back(layer->name);
  fail("the network's outputs come from several layers: " + join(names, ", "), hint);
}

const Layer& find_named(const std::vector<Layer>& layers, const std::string& name) {
  const auto found = std::find_if(layers.begin(), layers.end(), [&](const Layer& layer) {
    return layer.name == name && can_be_head(layer);
  });
  if (found != layers.end()) return *found;
  std::vector<std::string> names;
  for (const Layer& layer : layers)
    if (can_be_head(layer)) names.push_back(layer.name);
  const std::string nearest = nearest_name(name, names);
  fail(fmt::format("there is no linear layer or convolution '{}'", name),
       nearest.empty() ? candidates(layers) : fmt::format("did you mean '{}'?", nearest));
}

/// What keeps a layer's weight from being exchanged.
void check_exchangeable(const Layer& head, const std::vector<Layer>& layers) {
  if (!head.weight) {
    fail(fmt::format("the weight of {} is computed by the network, so it can't be replaced",
                     head.name),
         kNameTheLayer);
  }
  for (const Layer& layer : layers) {
    if (layer.node == head.node) continue;
    const bool is_shared =
        std::find(layer.weights.begin(), layer.weights.end(), *head.weight) != layer.weights.end();
    if (is_shared) {
      fail(fmt::format("{} shares its weight with {}, which has to keep it", head.name,
                       op_of(layer.node)),
           kNameTheLayer);
    }
  }
  if (head.kind != LayerKind::kConv) return;
  const c10::IValue groups = constant_argument(head.node, "groups");
  if (!groups.isInt() || groups.toInt() != 1) {
    fail(fmt::format("{} is a convolution in groups, whose outputs don't see all of its inputs",
                     head.name),
         kNameTheLayer);
  }
}

std::string shapes_text(const std::vector<std::vector<std::int64_t>>& shapes) {
  std::vector<std::string> texts;
  for (const auto& shape : shapes) texts.push_back(fmt::format("[{}]", fmt::join(shape, ", ")));
  return join(texts, ", ");
}

std::vector<std::vector<std::int64_t>> output_shapes(const Model& model,
                                                     const std::vector<at::Tensor>& sample) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<std::int64_t>> shapes;
  for (const at::Tensor& output : model.forward(sample)) shapes.push_back(output.sizes().vec());
  return shapes;
}

/// Whether some output has `classes` where it had `before`, and all else is as it was.
bool has_followed(const std::vector<std::vector<std::int64_t>>& old_shapes,
                  const std::vector<std::vector<std::int64_t>>& shapes, std::int64_t before,
                  std::int64_t classes) {
  if (before == classes) return shapes == old_shapes;
  if (shapes.size() != old_shapes.size()) return false;
  bool has_changed = false;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].size() != old_shapes[i].size()) return false;
    for (std::size_t dim = 0; dim < shapes[i].size(); ++dim) {
      if (shapes[i][dim] == old_shapes[i][dim]) continue;
      if (old_shapes[i][dim] != before || shapes[i][dim] != classes) return false;
      has_changed = true;
    }
  }
  return has_changed;
}

}  // namespace

NewHead replace_head(Model& model, std::int64_t classes, const std::string& layer,
                     std::uint64_t seed, const std::vector<at::Tensor>& sample) {
  const std::vector<Layer> layers = find_layers(model);
  const Layer& head = layer.empty() ? find_head(model, layers) : find_named(layers, layer);
  check_exchangeable(head, layers);
  const auto shapes_before = output_shapes(model, sample);

  const at::Tensor weight = model.tensor(*head.weight);
  std::vector<std::int64_t> sizes = weight.sizes().vec();
  NewHead made{head.name, {*head.weight}, sizes[0]};
  sizes[0] = classes;
  const double fan_in = static_cast<double>(weight.numel()) / static_cast<double>(weight.size(0));
  const double bound = 1 / std::sqrt(fan_in);
  const at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto draw = [&](const std::string& name, at::IntArrayRef shape) {
    const at::Tensor values = at::empty(shape, at::kFloat).uniform_(-bound, bound, generator);
    model.set_tensor(name, values.to(weight.scalar_type()));
  };
  draw(*head.weight, sizes);
  if (head.bias) {
    draw(*head.bias, {classes});
    made.parameters.push_back(*head.bias);
  }

  std::vector<std::vector<std::int64_t>> shapes;
  try {
    shapes = output_shapes(model, sample);
  } catch (const std::exception& error) {
    fail(fmt::format("with {} outputs of {} the network can't run: {}", classes, made.layer,
                     torch_message(error)),
         "a shape of the network is fixed to its old classes");
  }
  if (!has_followed(shapes_before, shapes, made.outputs_before, classes)) {
    fail(fmt::format(
             "with {} outputs of {} instead of {} the network's outputs are {} instead of {}",
             classes, made.layer, made.outputs_before, shapes_text(shapes),
             shapes_text(shapes_before)),
         kNameTheLayer);
  }
  return made;
}

}  // namespace edgecompress
