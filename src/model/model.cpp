#include "model/model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/core/stack.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <exception>
#include <set>
#include <utility>

#include "canonical/canonical.h"
#include "edgecompress/error.h"
#include "model/clone.h"
#include "model/torch_error.h"

namespace edgecompress {
namespace {

using c10::IValue;
using torch::jit::Module;

struct Place {
  Module owner;
  std::string name;
  std::size_t slot;
};

// Where a dotted name leads: the submodule that owns the attribute.
std::optional<Place> find_place(const Module& root, const std::string& dotted_name) {
  Module owner = root;
  std::size_t start = 0;
  for (auto dot = dotted_name.find('.'); dot != std::string::npos;
       dot = dotted_name.find('.', start)) {
    const auto slot = owner.type()->findAttributeSlot(dotted_name.substr(start, dot - start));
    if (!slot) return std::nullopt;
    const IValue child = owner._ivalue()->getSlot(*slot);
    if (!child.isModule()) return std::nullopt;
    owner = child.toModule();
    start = dot + 1;
  }
  const auto name = dotted_name.substr(start);
  const auto slot = owner.type()->findAttributeSlot(name);
  if (!slot) return std::nullopt;
  return Place{owner, name, *slot};
}

Place require_place(const Module& root, const std::string& dotted_name) {
  auto place = find_place(root, dotted_name);
  if (!place) throw Error(ExitCode::kInternal, "the model has no attribute " + dotted_name);
  return *std::move(place);
}

std::string unique_name(const Module& root, const std::string& name) {
  std::string base = name;
  for (auto& letter : base) {
    if (letter == '.') letter = '_';
  }
  std::string unique = base;
  for (int i = 1; root.hasattr(unique) || root.find_method(unique); ++i) {
    unique = base + "_" + std::to_string(i);
  }
  return unique;
}

std::shared_ptr<torch::jit::Graph> forward_graph(const Module& module) {
  return torch::jit::toGraphFunction(module.get_method("forward").function()).graph();
}

// Objects are told apart by identity: the same attribute name may exist in many modules.
using ReadAttributes = std::set<std::pair<const c10::ivalue::Object*, std::string>>;

void collect_reads(const torch::jit::Block* block, const Module& root,
                   std::unordered_map<const torch::jit::Value*, Module>& modules,
                   ReadAttributes& reads) {
  for (const auto* node : block->nodes()) {
    for (const auto* nested : node->blocks()) collect_reads(nested, root, modules, reads);
    if (node->kind() != c10::prim::GetAttr && node->kind() != c10::prim::SetAttr) continue;
    const auto owner = modules.find(node->input(0));
    if (owner == modules.end()) continue;
    const auto& name = node->s(c10::attr::name);
    reads.emplace(owner->second._ivalue().get(), name);
    const IValue value = owner->second.attr(name);
    if (node->kind() == c10::prim::GetAttr && value.isModule()) {
      const Module child = value.toModule();
      modules.emplace(node->output(), child);
    }
  }
}

// Bottom up, so that a submodule left empty goes too.
void remove_unread(const Module& module, const ReadAttributes& reads) {
  const auto object = module._ivalue();
  const auto type = module.type();
  for (std::size_t slot = type->numAttributes(); slot-- > 0;) {
    const IValue value = object->getSlot(slot);
    const auto name = type->getAttributeName(slot);
    bool is_needed = reads.count({object.get(), name}) > 0;
    if (value.isModule()) {
      const Module child = value.toModule();
      remove_unread(child, reads);
      is_needed = child.type()->numAttributes() > 0;
    }
    if (is_needed || name == "training") continue;
    type->unsafeRemoveAttribute(name);
    object->unsafeRemoveSlot(slot);
  }
}

void check_accepts_example(const Module& module, const std::vector<InputSpec>& inputs) {
  const auto examples = make_example_inputs(inputs, 0, 0);
  std::string shapes;
  for (const auto& input : examples) {
    shapes += shapes.empty() ? "" : ", ";
    for (std::int64_t i = 0; i < input.dim(); ++i) {
      shapes += (i ? "x" : "") + std::to_string(input.size(i));
    }
    shapes += std::string(" ") + c10::toString(input.scalar_type());
  }
  try {
    at::NoGradGuard no_grad;
    Module copy = module.copy();
    flatten_outputs(copy.forward({examples.begin(), examples.end()}));
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw_if_out_of_memory(error);
    throw Error(
        ExitCode::kModel,
        "the model does not accept the example input (" + shapes + "): " + torch_message(error),
        "give the shapes and dtypes the model was made for, batch first");
  }
}

}  // namespace

Model::Model(Module module, std::vector<InputSpec> inputs, std::vector<Finding> findings)
    : module_(std::move(module)), inputs_(std::move(inputs)), findings_(std::move(findings)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::load(const std::filesystem::path& path, const std::vector<InputSpec>& inputs) {
  return from_module(load_as_stored(path), inputs);
}

Model Model::from_module(const Module& module, const std::vector<InputSpec>& inputs) {
  if (!module.find_method("forward")) {
    throw Error(ExitCode::kModel, "the TorchScript module has no method forward",
                "export the network's forward with torch.jit.script or torch.jit.trace");
  }
  if (!inputs.empty()) check_accepts_example(module, inputs);
  auto canonical = canonicalise(module, inputs);
  Model model(clone_module(canonical.module), inputs, std::move(canonical.findings));
  model.remove_unused_attributes();
  return model;
}

Model Model::clone() const { return Model(clone_module(module_), inputs_, findings_); }

std::vector<at::Tensor> Model::forward(const std::vector<at::Tensor>& inputs) const {
  if (!executor_) {
    // The simple mode runs the graph as it is; the profiling one would spend the first runs on
    // specialising and fusing it.
    executor_ = std::make_unique<torch::jit::GraphExecutor>(
        forward_graph(module_)->copy(), "forward", torch::jit::ExecutorExecutionMode::SIMPLE);
  }
  torch::jit::Stack stack;
  stack.reserve(inputs.size() + 1);
  stack.emplace_back(module_._ivalue());
  for (const auto& input : inputs) stack.emplace_back(input);
  executor_->run(stack);
  return flatten_outputs(stack.back());
}

std::vector<at::Tensor> Model::example_inputs(std::int64_t batch_size, std::uint64_t seed) const {
  return make_example_inputs(inputs_, batch_size, seed);
}

void Model::set_training(bool training) { module_.train(training); }

bool Model::is_training() const {
  return module_.hasattr("training") && module_.attr("training").toBool();
}

const torch::jit::Graph& Model::graph() const { return *forward_graph(module_); }

std::shared_ptr<torch::jit::Graph> Model::edit() {
  executor_.reset();
  // The method's own executor (Module::forward) was made of the graph before the edit.
  auto& function = torch::jit::toGraphFunction(module_.get_method("forward").function());
  function.clear_optimized_graphs();
  return function.graph();
}

IValue Model::attribute(const std::string& name) const {
  const auto place = require_place(module_, name);
  return place.owner._ivalue()->getSlot(place.slot);
}

bool Model::has_attribute(const std::string& name) const {
  return find_place(module_, name).has_value();
}

void Model::set_tensor(const std::string& name, const at::Tensor& value) {
  const auto place = require_place(module_, name);
  const IValue old = place.owner._ivalue()->getSlot(place.slot);
  auto tensor = value.detach();
  const bool trains = old.isTensor() && old.toTensor().defined() && old.toTensor().requires_grad();
  if (trains && (tensor.is_floating_point() || tensor.is_complex())) tensor.set_requires_grad(true);
  place.owner._ivalue()->setSlot(place.slot, tensor);
}

std::string Model::add_parameter(const std::string& name, const at::Tensor& value) {
  const auto unique = unique_name(module_, name);
  module_.register_parameter(unique, value.detach().set_requires_grad(value.is_floating_point()),
                             /*is_buffer=*/false);
  return unique;
}

std::string Model::add_attribute(const std::string& name, const c10::TypePtr& type,
                                 const IValue& value) {
  const auto unique = unique_name(module_, name);
  module_.register_attribute(unique, type, value);
  return unique;
}

void Model::remove_unused_attributes() {
  // Methods that are called rather than inlined read attributes that this graph doesn't show.
  if (module_.get_methods().size() != 1) return;
  const auto graph = edit();
  std::unordered_map<const torch::jit::Value*, Module> modules{{graph->inputs()[0], module_}};
  ReadAttributes reads;
  collect_reads(graph->block(), module_, modules, reads);
  remove_unread(module_, reads);
}

std::vector<std::pair<std::string, at::Tensor>> Model::named_parameters() const {
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  for (const auto& parameter : module_.named_parameters()) {
    parameters.emplace_back(parameter.name, parameter.value);
  }
  return parameters;
}

}  // namespace edgecompress
