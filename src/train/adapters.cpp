#include "train/adapters.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "model/safetensors.h"
#include "train/zeros.h"
#include "util/random.h"
#include "util/text.h"

namespace edgecompress {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

/// A, as the Kaiming initialisation of a linear layer of `columns` inputs gives it.
at::Tensor draw_a(std::int64_t rank, std::int64_t columns, at::ScalarType type,
                  std::uint64_t seed) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(columns, 1)));
  const at::Tensor a = at::empty({rank, columns}, at::kFloat);
  return a.uniform_(-bound, bound, at::detail::createCPUGenerator(seed)).to(type);
}

/// Writes nodes into a graph and remembers them, in order.
class Writer {
 public:
  explicit Writer(std::shared_ptr<Graph> graph)
      : graph_(std::move(graph)), insert_point_(*graph_->nodes().begin()) {}

  Value* attribute(const Model& model, const std::string& name) {
    Value* value = insert_attribute(*graph_, model, name);
    remember_chain(value);
    return value;
  }
  Value* constant(const c10::IValue& value) { return remember(graph_->insertConstant(value)); }
  Value* call(c10::Symbol op, at::ArrayRef<Value*> inputs) {
    return remember(graph_->insertNode(graph_->create(op, inputs))->output());
  }
  std::vector<Node*> nodes() const { return nodes_; }

 private:
  Value* remember(Value* value) {
    nodes_.push_back(value->node());
    return value;
  }
  void remember_chain(Value* value) {
    if (value->node()->kind() != c10::prim::GetAttr) return;
    remember_chain(value->node()->input());
    nodes_.push_back(value->node());
  }

  std::shared_ptr<Graph> graph_;
  torch::jit::WithInsertPoint insert_point_;
  std::vector<Node*> nodes_;
};

}  // namespace

Adapters::Adapters(Model& model, const std::vector<Layer>& layers, const AdapterOptions& options,
                   std::uint64_t seed)
    : model_(model), options_(options) {
  const auto graph = model_.edit();
  for (const Layer& layer : layers) {
    const auto known =
        std::find_if(adapters_.begin(), adapters_.end(),
                     [&](const Adapter& adapter) { return adapter.weight == *layer.weight; });
    const bool is_new = known == adapters_.end();
    if (is_new) adapters_.push_back(make_adapter(graph, layer, seed));
    redirect(is_new ? adapters_.back() : *known, layer.node);
  }
}

Adapters::~Adapters() {
  if (!adapters_.empty()) remove();
}

Adapters::Adapter Adapters::make_adapter(const std::shared_ptr<Graph>& graph, const Layer& layer,
                                         std::uint64_t seed) {
  Adapter adapter;
  adapter.module = layer.name;
  adapter.weight = *layer.weight;
  const at::Tensor weight = model_.tensor(adapter.weight).detach();
  const std::int64_t rows = weight.size(0);
  const std::int64_t columns = weight[0].numel();
  adapter.a = model_.add_parameter("lora_A", draw_a(options_.rank, columns, weight.scalar_type(),
                                                    derive_seed(seed, adapter.weight)));
  adapter.b = model_.add_parameter("lora_B", at::zeros({rows, options_.rank}, weight.options()));
  if (options_.keep_zeros) {
    const at::Tensor zeros = pruned_positions(weight);
    if (zeros.defined()) {
      adapter.zeros = model_.add_attribute("lora_zeros", c10::TensorType::get(), zeros);
    }
  }

  // The same expression as adapted_weight(), as a graph.
  Writer write(graph);
  Value* w = write.attribute(model_, adapter.weight);
  Value* a = write.attribute(model_, adapter.a);
  Value* b = write.attribute(model_, adapter.b);
  Value* update =
      write.call(c10::aten::mul, {write.call(c10::aten::matmul, {b, a}), write.constant(scale())});
  update = write.call(c10::aten::view_as, {update, w});
  if (!adapter.zeros.empty()) {
    update = write.call(c10::aten::masked_fill,
                        {update, write.attribute(model_, adapter.zeros), write.constant(0)});
  }
  adapter.adapted = write.call(c10::aten::add, {w, update, write.constant(1)});
  adapter.nodes = write.nodes();
  return adapter;
}

void Adapters::redirect(Adapter& adapter, Node* node) {
  for (std::size_t i = 0; i < node->inputs().size(); ++i) {
    Value* input = node->input(i);
    if (attribute_path(input) != adapter.weight) continue;
    adapter.inputs.push_back({node, i, input});
    node->replaceInput(i, adapter.adapted);
  }
}

std::vector<std::string> Adapters::parameters() const {
  std::vector<std::string> names;
  for (const Adapter& adapter : adapters_) {
    names.push_back(adapter.a);
    names.push_back(adapter.b);
  }
  return names;
}

at::Tensor Adapters::adapted_weight(const Adapter& adapter) const {
  const at::NoGradGuard no_grad;
  const at::Tensor w = model_.tensor(adapter.weight);
  at::Tensor update =
      (at::matmul(model_.tensor(adapter.b), model_.tensor(adapter.a)) * scale()).view_as(w);
  if (!adapter.zeros.empty()) update = update.masked_fill(model_.tensor(adapter.zeros), 0);
  return (w + update).contiguous();
}

std::map<std::string, std::string> Adapters::files() const {
  Safetensors tensors;
  tensors.metadata["format"] = "pt";
  std::vector<std::string> modules, masked;
  for (const Adapter& adapter : adapters_) {
    modules.push_back(adapter.module);
    if (!adapter.zeros.empty()) masked.push_back(adapter.module);
    // A convolution's adapter is a convolution with its kernel and a 1x1 one.
    std::vector<std::int64_t> a_shape = model_.tensor(adapter.weight).sizes().vec();
    std::vector<std::int64_t> b_shape(a_shape.size(), 1);
    b_shape[0] = a_shape[0];
    b_shape[1] = a_shape[0] = options_.rank;
    const std::string prefix = "base_model.model." + adapter.module + ".";
    tensors.tensors[prefix + "lora_A.weight"] = model_.tensor(adapter.a).view(a_shape).clone();
    tensors.tensors[prefix + "lora_B.weight"] = model_.tensor(adapter.b).view(b_shape).clone();
  }
  if (!masked.empty()) tensors.metadata["masked_modules"] = join(masked, ",");
  const Json config = {{"peft_type", "LORA"},
                       {"r", options_.rank},
                       {"lora_alpha", options_.alpha},
                       {"lora_dropout", 0.0},
                       {"bias", "none"},
                       {"fan_in_fan_out", false},
                       {"inference_mode", true},
                       {"target_modules", modules},
                       {"base_model_name_or_path", nullptr},
                       {"task_type", nullptr}};
  return {{"adapter_model.safetensors", write_safetensors(tensors)},
          {"adapter_config.json", config.dump(2) + "\n"}};
}

void Adapters::merge() {
  for (const Adapter& adapter : adapters_) {
    model_.set_tensor(adapter.weight, adapted_weight(adapter));
  }
  remove();
}

void Adapters::remove() {
  const auto graph = model_.edit();
  for (Adapter& adapter : adapters_) {
    for (const Input& input : adapter.inputs) input.node->replaceInput(input.index, input.original);
    std::for_each(adapter.nodes.rbegin(), adapter.nodes.rend(),
                  [](Node* node) { node->destroy(); });
  }
  adapters_.clear();
  model_.remove_unused_attributes();
}

}  // namespace edgecompress
