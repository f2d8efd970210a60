#include "train/adapters.h"

#include <ATen/ATen.h>

#include <utility>

#include "edgecompress/error.h"
#include "train/zeros.h"

namespace edgecompress {

using torch::jit::Node;
using torch::jit::Value;

namespace {

constexpr const char* kTrainingAttribute = "training";

std::size_t argument_index(const Node* node, const std::string& name) {
  return static_cast<std::size_t>(node->schema().argumentIndexWithName(name).value());
}

}  // namespace

std::string to_string(AdapterForm form) {
  switch (form) {
    case AdapterForm::kBeside:
      return "beside";
    case AdapterForm::kInside:
      return "inside";
    case AdapterForm::kSplit:
      return "split";
  }
  return "inside";
}

Adapters::Adapters(Model& model, bool keep_zeros)
    : model_(model), keep_zeros_(keep_zeros), edits_(model) {}

Adapters::~Adapters() {
  for (const Placed& placed : placed_) {
    if (placed.original.defined()) model_.set_tensor(placed.target.weight, placed.original);
  }
  if (!placed_.empty()) remove();
}

void Adapters::add(const Adapter& adapter, const AdapterTarget& target) {
  Placed placed;
  placed.adapter = adapter;
  placed.adapter.a = placed.adapter.b = placed.adapter.magnitude = at::Tensor();
  placed.target = target;
  const auto add_tensor = [&](const char* name, const at::Tensor& value) {
    return model_.add_parameter(adapter.module + "." + name, value.detach().clone());
  };
  placed.a = add_tensor("lora_A", adapter.a);
  placed.b = add_tensor("lora_B", adapter.b);
  if (adapter.settings.dora) {
    placed.magnitude = add_tensor("lora_magnitude_vector", adapter.magnitude);
  }
  const at::Tensor zeros = keep_zeros_ && target.keeps_zeros
                               ? pruned_positions(model_.tensor(target.weight))
                               : at::Tensor();
  if (zeros.defined()) {
    placed.zeros =
        model_.add_attribute(adapter.module + ".lora_zeros", c10::TensorType::get(), zeros);
  }
  placed.form = choose_form(placed);
  place(placed);
  placed_.push_back(std::move(placed));
}

void Adapters::add_pissa(const Adapter& adapter, const AdapterTarget& target) {
  const at::NoGradGuard no_grad;
  add(adapter, target);
  Placed& placed = placed_.back();
  placed.start = adapter;
  placed.start.settings.dora = false;
  placed.original = model_.tensor(target.weight).detach();
  model_.set_tensor(target.weight, placed.original - weight_change(placed.start, placed.original,
                                                                   zeros_of(placed)));
}

AdapterForm Adapters::choose_form(const Placed& placed) const {
  const AdapterSettings& settings = placed.adapter.settings;
  const bool can_be_beside = placed.zeros.empty();
  const bool has_dropout = settings.dropout > 0;
  if (can_be_beside && placed.target.op == "aten::linear" &&
      (!settings.dora || (!has_dropout && placed.adapter.share == 1))) {
    return AdapterForm::kBeside;
  }
  if (placed.target.op == "aten::embedding" && can_be_beside && !settings.dora) {
    return AdapterForm::kBeside;
  }
  const bool has_embedding =
      placed.target.kind == LayerKind::kEmbedding || placed.target.op.empty();
  return has_dropout && !has_embedding ? AdapterForm::kSplit : AdapterForm::kInside;
}

void Adapters::place(const Placed& placed) {
  if (placed.form == AdapterForm::kInside) {
    place_inside(placed);
    return;
  }
  for (Node* reader : placed.target.readers) {
    if (placed.form == AdapterForm::kBeside) {
      place_beside(placed, reader);
    } else {
      place_split(placed, reader);
    }
  }
}

void Adapters::place_inside(const Placed& placed) {
  Value* change = insert_change(placed);
  Value*& adapted = adapted_[placed.target.weight];
  if (adapted == nullptr) adapted = edits_.read(placed.target.weight);
  Node* start = edits_.start();
  adapted = edits_.insert(start, "aten::add", {adapted, change, edits_.constant(start, 1)});
  for (Node* reader : placed.target.readers) {
    edits_.replace_input(reader, argument_index(reader, "weight"), adapted);
  }
}

void Adapters::place_split(const Placed& placed, Node* reader) {
  Value* change = insert_change(placed);
  Value* output = output_of(reader);
  Node* behind = output->node()->next();
  const std::size_t input = argument_index(reader, "input");
  Value* dropped = drop(behind, reader->input(input), placed.adapter.settings.dropout);
  Value* none = edits_.constant(behind, c10::IValue());
  Node* layer = edits_.repeat(behind, reader);
  layer->replaceInput(input, dropped);
  layer->replaceInput(argument_index(reader, "weight"), change);
  layer->replaceInput(argument_index(reader, "bias"), none);
  set_output(reader, edits_.insert(behind, "aten::add",
                                   {output, layer->output(), edits_.constant(behind, 1)}));
}

void Adapters::place_beside(const Placed& placed, Node* reader) {
  const AdapterSettings& settings = placed.adapter.settings;
  Value* a = edits_.read(placed.a);
  Value* b = edits_.read(placed.b);
  Value* output = output_of(reader);
  Node* behind = output->node()->next();
  Value* scale = edits_.constant(behind, change_scale(placed.adapter));
  if (placed.target.op == "aten::embedding") {
    Value* indices = reader->input(argument_index(reader, "indices"));
    Value* padding = reader->input(argument_index(reader, "padding_idx"));
    set_output(reader, edits_.insert(behind, embedding_expression(),
                                     {output, indices, padding, a, b, scale}));
    return;
  }
  Value* x = reader->input(argument_index(reader, "input"));
  if (settings.dora) {
    Value* bias = reader->input(argument_index(reader, "bias"));
    const bool has_bias = !bias->mustBeNone();
    std::vector<Value*> arguments = {output, reader->output(),
                                     x,      edits_.read(placed.target.weight),
                                     a,      b,
                                     scale,  edits_.read(placed.magnitude)};
    if (has_bias) arguments.push_back(bias);
    set_output(reader, edits_.insert(behind, dora_expression(has_bias), arguments));
    return;
  }
  x = drop(behind, x, settings.dropout);
  set_output(reader, edits_.insert(behind, linear_expression(), {output, x, a, b, scale}));
}

Value* Adapters::insert_change(const Placed& placed) {
  std::vector<Value*> arguments = {edits_.read(placed.target.weight), edits_.read(placed.a),
                                   edits_.read(placed.b),
                                   edits_.constant(edits_.start(), change_scale(placed.adapter))};
  if (!placed.zeros.empty()) arguments.push_back(edits_.read(placed.zeros));
  if (!placed.magnitude.empty()) arguments.push_back(edits_.read(placed.magnitude));
  const std::int64_t dimensions = model_.tensor(placed.target.weight).dim();
  return edits_.insert(edits_.start(),
                       change_expression(placed.adapter, dimensions, !placed.zeros.empty()),
                       arguments);
}

Value* Adapters::output_of(Node* reader) const {
  const auto sum = outputs_.find(reader);
  return sum == outputs_.end() ? reader->output() : sum->second;
}

void Adapters::set_output(Node* reader, Value* sum) {
  edits_.replace_output(output_of(reader), sum);
  outputs_[reader] = sum;
}

Value* Adapters::drop(Node* place, Value* value, double probability) {
  if (probability == 0) return value;
  if (!model_.has_attribute(kTrainingAttribute)) {
    model_.add_attribute(kTrainingAttribute, c10::BoolType::get(), false);
  }
  Value* training = edits_.read(kTrainingAttribute);
  return edits_.insert(place, "aten::dropout",
                       {value, edits_.constant(place, probability), training});
}

std::vector<std::string> Adapters::parameters(std::optional<std::size_t> count) const {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count.value_or(placed_.size()); ++i) {
    const Placed& placed = placed_.at(i);
    names.push_back(placed.a);
    names.push_back(placed.b);
    if (!placed.magnitude.empty()) names.push_back(placed.magnitude);
  }
  return names;
}

void Adapters::settle() {
  for (Placed& placed : placed_) {
    if (!placed.original.defined()) continue;
    const Adapter plain = without_start(with_tensors(placed), placed.start);
    model_.set_tensor(placed.a, plain.a);
    model_.set_tensor(placed.b, plain.b);
    model_.set_tensor(placed.target.weight, placed.original);
    placed.adapter.settings = plain.settings;
    placed.original = at::Tensor();
  }
}

std::vector<Adapter> Adapters::current() const {
  std::vector<Adapter> adapters;
  for (const Placed& placed : placed_) {
    Adapter adapter = with_tensors(placed);
    for (at::Tensor* tensor : {&adapter.a, &adapter.b, &adapter.magnitude}) {
      if (tensor->defined()) *tensor = tensor->clone();
    }
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

void Adapters::merge() {
  const at::NoGradGuard no_grad;
  settle();
  std::map<std::string, at::Tensor> sums;
  for (const Placed& placed : placed_) {
    const at::Tensor weight = model_.tensor(placed.target.weight).detach();
    at::Tensor& sum = sums.emplace(placed.target.weight, weight).first->second;
    sum = sum + weight_change(with_tensors(placed), weight, zeros_of(placed));
  }
  for (const auto& [name, sum] : sums) model_.set_tensor(name, sum.contiguous());
  remove();
}

void Adapters::keep() {
  settle();
  std::vector<Adapter> adapters = current();
  std::vector<AdapterTarget> targets;
  for (const Placed& placed : placed_) targets.push_back(placed.target);
  remove();
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    adapters[i].settings.dropout = 0;
    add(adapters[i], targets[i]);
  }
  edits_.forget();
  placed_.clear();
}

Adapter Adapters::with_tensors(const Placed& placed) const {
  Adapter adapter = placed.adapter;
  adapter.a = model_.tensor(placed.a).detach();
  adapter.b = model_.tensor(placed.b).detach();
  if (!placed.magnitude.empty()) adapter.magnitude = model_.tensor(placed.magnitude).detach();
  return adapter;
}

at::Tensor Adapters::zeros_of(const Placed& placed) const {
  return placed.zeros.empty() ? at::Tensor() : model_.tensor(placed.zeros);
}

void Adapters::remove() {
  edits_.undo();
  placed_.clear();
  adapted_.clear();
  outputs_.clear();
  model_.remove_unused_attributes();
}

}  // namespace edgecompress
