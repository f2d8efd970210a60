#include "train/inner_outputs.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "edgecompress/error.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "util/text.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

bool is_within(const std::string& layer, const std::string& module) {
  return layer.rfind(module + ".", 0) == 0;
}

/// Layers and the modules that hold them.
std::vector<std::string> names_within(const std::vector<Layer>& layers) {
  std::set<std::string> names;
  for (const Layer& layer : layers) {
    for (std::string name = layer.name; names.insert(name).second;) {
      if (name.find('.') == std::string::npos) break;
      name = module_of(name);
    }
  }
  return {names.begin(), names.end()};
}

bool gives_channels_last(const Layer& layer) {
  switch (layer.kind) {
    case LayerKind::kLinear:
    case LayerKind::kMatmul:
    case LayerKind::kEmbedding:
    case LayerKind::kLstm:
    case LayerKind::kGru:
    case LayerKind::kRnn:
      return true;
    case LayerKind::kNorm:
      return op_of(layer.node) == "aten::layer_norm";
    default:
      return false;
  }
}

/// The one reader of the value that makes a value of the same size of it, without weights; or null.
Value* read_on(const Value* value, const ShapeMap& shapes, const std::set<const Node*>& layers) {
  if (value->uses().size() != 1) return nullptr;
  Node* reader = value->uses()[0].user;
  if (reader->outputs().size() != 1 || layers.count(reader) > 0) return nullptr;
  const auto before = shapes.find(value), after = shapes.find(reader->output());
  const bool keeps_size = before != shapes.end() && after != shapes.end() &&
                          before->second.sizes == after->second.sizes;
  return keeps_size ? reader->output() : nullptr;
}

class Search {
 public:
  Search(Model& model, const std::vector<at::Tensor>& sample, const std::string& what)
      : layers_(find_layers(model)), shapes_(record_shapes(model, sample)), what_(what) {}

  InnerValue last_features() const {
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      const bool is_head = layer->kind == LayerKind::kLinear || layer->kind == LayerKind::kConv;
      if (is_head && layer->weight) {
        return described(layer->node->input(0), layer->kind == LayerKind::kLinear,
                         "what its last layer reads");
      }
    }
    throw Error(ExitCode::kPass,
                what_ + ": the network has neither a convolution nor a linear layer",
                "name a layer of it");
  }

  InnerValue named(const std::string& name) const {
    const Layer* last = nullptr;
    bool is_module = false;
    for (const Layer& layer : layers_) {
      if (layer.name != name && !is_within(layer.name, name)) continue;
      last = &layer;
      is_module = layer.name != name;
    }
    if (last == nullptr) fail_unknown(name);
    Value* value = last->node->output(0);
    if (is_module) value = end_of_module(value);
    return described(value, gives_channels_last(*last), "'" + name + "'");
  }

 private:
  Value* end_of_module(Value* value) const {
    std::set<const Node*> layers;
    for (const Layer& layer : layers_) layers.insert(layer.node);
    while (Value* next = read_on(value, shapes_, layers)) value = next;
    return value;
  }

  InnerValue described(Value* value, bool has_channels_last, const std::string& name) const {
    const auto shape = shapes_.find(value);
    if (value->node()->owningBlock() != value->owningGraph()->block() || shape == shapes_.end()) {
      fail(name, "is in a branch of the graph");
    }
    if (!c10::isFloatingType(shape->second.dtype)) fail(name, "has no floating numbers");
    InnerValue found{value, has_channels_last, shape->second.sizes};
    if (found.sizes.size() < 2) fail(name, "has less than two dimensions");
    if (is_written(value)) fail(name, "is changed in place later");
    if (has_channels_last)
      std::rotate(found.sizes.begin() + 1, found.sizes.end() - 1, found.sizes.end());
    return found;
  }

  [[noreturn]] void fail(const std::string& name, const std::string& why) const {
    throw Error(ExitCode::kPass, fmt::format("{}: {} {}", what_, name, why),
                "name another layer; `edgecompress inspect` lists them");
  }

  [[noreturn]] void fail_unknown(const std::string& name) const {
    const std::string nearest = nearest_name(name, names_within(layers_));
    throw Error(ExitCode::kPass,
                fmt::format("{}: the network has no layer or module '{}'", what_, name),
                nearest.empty() ? "`edgecompress inspect` lists its layers"
                                : fmt::format("did you mean \"{}\"?", nearest));
  }

  std::vector<Layer> layers_;
  ShapeMap shapes_;
  std::string what_;
};

}  // namespace

at::Tensor InnerValue::channels_second(const at::Tensor& tensor) const {
  return has_channels_last ? tensor.movedim(-1, 1) : tensor;
}

InnerValue find_inner_value(Model& model, const std::optional<std::string>& name,
                            const std::vector<at::Tensor>& sample, const std::string& what) {
  const at::NoGradGuard no_grad;
  const Search search(model, sample, what);
  InnerValue found = name ? search.named(*name) : search.last_features();
  const std::int64_t samples = sample.at(0).size(0);
  if (found.sizes[0] == samples) return found;
  throw Error(
      ExitCode::kPass,
      fmt::format("{}: {} has {} in its first dimension for {} samples", what,
                  name ? "'" + *name + "'" : "what the last layer reads", found.sizes[0], samples),
      "name a layer whose output has the samples first");
}

InnerOutputs::InnerOutputs(Model& model, std::vector<InnerValue> values)
    : model_(model), values_(std::move(values)) {
  if (values_.empty()) return;
  const auto graph = model_.edit();
  std::vector<Value*> all = {graph->outputs().at(0)};
  for (const InnerValue& inner : values_) all.push_back(inner.value);
  tuple_ = graph->createTuple(all);
  tuple_->insertBefore(graph->return_node());
  graph->return_node()->replaceInput(0, tuple_->output());
}

InnerOutputs::~InnerOutputs() {
  if (tuple_ == nullptr) return;
  const auto graph = model_.edit();
  graph->return_node()->replaceInput(0, tuple_->input(0));
  tuple_->destroy();
}

std::vector<at::Tensor> InnerOutputs::of(const std::vector<at::Tensor>& outputs) const {
  std::vector<at::Tensor> found;
  const std::size_t first = outputs.size() - values_.size();
  for (std::size_t i = 0; i < values_.size(); ++i)
    found.push_back(values_[i].channels_second(outputs[first + i]));
  return found;
}

}  // namespace edgecompress
