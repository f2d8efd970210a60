#include "quantization/simulated_int8.h"

#include <ATen/ATen.h>

#include <map>

#include "int8/fake_quantization.h"
#include "model/layers.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

/// Weights and biases as float attributes.
class ChangeableParts : public FakeQuantizationParts {
 public:
  ChangeableParts(Model& model, const Int8Scheme& scheme)
      : model_(model), graph_(*model.edit()), scheme_(scheme) {}

  Value* weight(const Int8Op& op) override {
    const std::string& name = *op.layer->weight;
    if (names_.count(name) == 0)
      names_[name] = add(name + ".simulated", dequantize(scheme_.weights.at(name)));
    return insert_attribute(graph_, model_, names_.at(name));
  }

  Value* bias(const Int8Op& op) override {
    const at::Tensor& stored = scheme_.biases.at(op.node);
    const at::Tensor weight = model_.tensor(names_.at(*op.layer->weight));
    const at::Tensor bias =
        stored.defined() ? stored.detach().to(at::kFloat).clone() : at::zeros({channels(op)});
    const std::string name = add(op.layer->name + ".bias.simulated", bias);
    layers_.push_back({op.layer->name, *op.layer->weight, nullptr, op.node, weight, bias});
    return insert_attribute(graph_, model_, name);
  }

  Value* round(Value* value, const QuantizedGrid& grid) override {
    return insert_rounding(graph_, value, grid);
  }

  std::vector<SimulatedLayer> take() { return std::move(layers_); }

 private:
  std::string add(const std::string& name, const at::Tensor& value) {
    return model_.add_attribute(name, c10::TensorType::get(), value);
  }
  std::int64_t channels(const Int8Op& op) const {
    const at::Tensor& weight = scheme_.weights.at(*op.layer->weight).values;
    const bool is_transposed = op.layer->kind == LayerKind::kConvTransposed;
    return is_transposed ? weight.size(1) * op.geometry.groups : weight.size(0);
  }

  Model& model_;
  torch::jit::Graph& graph_;
  const Int8Scheme& scheme_;
  std::map<std::string, std::string> names_;  // of simulated weights
  std::vector<SimulatedLayer> layers_;
};

}  // namespace

SimulatedInt8::SimulatedInt8(const Model& model, const Int8Scheme& scheme) : model_(model.clone()) {
  const Int8Scheme own = scheme.on(model_);
  ChangeableParts parts(model_, own);
  insert_fake_quantization(model_, own, parts);
  layers_ = parts.take();
  auto layer = layers_.begin();
  for (const Int8Op& op : scheme.plan.ops) {
    if (op.layer) (layer++)->before = op.node;
  }
}

}  // namespace edgecompress
