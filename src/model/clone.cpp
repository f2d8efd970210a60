#include "model/clone.h"

#include <ATen/core/class_type.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace edgecompress {
namespace {

using c10::ClassType;
using c10::ClassTypePtr;
using c10::IValue;
using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Module;
using torch::jit::Node;
using torch::jit::Value;
namespace prim = c10::prim;

bool is_module_type(const c10::TypePtr& type) {
  const auto class_type = type->cast<ClassType>();
  return class_type && class_type->is_module();
}

// True if modules occur in the block only as chains of GetAttr, and nothing defined elsewhere is
// called: then the graph can live with types of its own.
bool stands_alone(const Block* block) {
  for (const auto* node : block->nodes()) {
    const auto kind = node->kind();
    if (kind == prim::CallMethod || kind == prim::CallFunction || kind == prim::CreateObject) {
      return false;
    }
    for (const auto* output : node->outputs()) {
      if (output->type()->cast<c10::InterfaceType>() ||
          (is_module_type(output->type()) && kind != prim::GetAttr)) {
        return false;
      }
    }
    for (const auto* nested : node->blocks()) {
      if (!stands_alone(nested)) return false;
    }
  }
  return true;
}

// Attributes may be modules, plain values and LibTorch's own classes (packed parameters).
bool stands_alone(const Module& module) {
  const auto& type = module.type();
  for (const auto* method : type->methods()) {
    if (!method->isGraphFunction() ||
        !stands_alone(torch::jit::toGraphFunction(*method).graph()->block())) {
      return false;
    }
  }
  for (std::size_t i = 0; i < type->numAttributes(); ++i) {
    const auto& attribute_type = type->getAttribute(i);
    if (is_module_type(attribute_type)) {
      if (!stands_alone(module._ivalue()->getSlot(i).toModule())) return false;
    } else if (attribute_type->cast<c10::InterfaceType>() ||
               (attribute_type->cast<ClassType>() &&
                !module._ivalue()->getSlot(i).isCustomClass())) {
      return false;
    }
  }
  return true;
}

// Types are named in the archive's source text; submodules may be named by any text ("block1-0").
std::string as_identifier(std::string name) {
  for (char& letter : name) {
    if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
  }
  return name;
}

class Cloner {
 public:
  Module clone(const Module& module) { return clone(module, ""); }

 private:
  Module clone(const Module& module, const std::string& path) {
    const auto& old_type = *module.type();
    Module copy(type_name(old_type, path), unit_);
    for (std::size_t i = 0; i < old_type.numAttributes(); ++i) {
      const auto& name = old_type.getAttributeName(i);
      const auto value = module._ivalue()->getSlot(i);
      if (is_module_type(old_type.getAttribute(i))) {
        copy.register_module(name, clone(value.toModule(), path + "_" + as_identifier(name)));
      } else {
        copy.register_attribute(name, old_type.getAttribute(i), copy_value(value),
                                old_type.is_parameter(i), old_type.is_buffer(i));
      }
    }
    for (std::size_t i = 0; i < old_type.numConstants(); ++i) {
      copy.type()->addConstant(old_type.getConstantName(i), old_type.getConstant(i));
    }
    for (const auto* method : old_type.methods()) clone_method(*method, copy);
    return copy;
  }

  // All types go into the root's namespace, which is one file of the archive: one for each of a
  // hundred layers would weigh more than a small network's weights.
  c10::QualifiedName type_name(const ClassType& type, const std::string& path) {
    std::vector<std::string> atoms;
    for (const auto& atom : type.name()->atoms()) {
      if (atom.compare(0, 15, "___torch_mangle") != 0) atoms.push_back(atom);
    }
    std::string name = atoms.back();
    const bool has_path = name.size() > path.size() &&
                          name.compare(name.size() - path.size(), path.size(), path) == 0;
    if (!has_path) name += path;
    atoms.pop_back();
    if (path.empty()) namespace_ = atoms;
    atoms = namespace_;
    atoms.push_back(name);
    return unit_->mangle(c10::QualifiedName(atoms));
  }

  void clone_method(const torch::jit::Function& method, const Module& copy) {
    auto graph =
        torch::jit::toGraphFunction(const_cast<torch::jit::Function&>(method)).graph()->copy();
    graph->inputs()[0]->setType(copy.type());
    adapt(graph->block());
    auto* function =
        unit_->create_function(c10::QualifiedName(*copy.type()->name(), method.name()), graph);
    auto schema = method.getSchema();
    auto arguments = schema.arguments();
    arguments[0] = c10::Argument(arguments[0].name(), copy.type());
    function->setSchema(schema.cloneWithArguments(std::move(arguments)));
    copy.type()->addMethod(function);
    own_call_stacks(graph->block(), function);
  }

  // When an operator fails, LibTorch prints the functions that a node was inlined from. Those of
  // the original die with it.
  void own_call_stacks(Block* block, torch::jit::Function* function) {
    for (auto* node : block->nodes()) {
      if (node->callstack()) {
        node->setCallStack(
            c10::make_intrusive<torch::jit::InlinedCallStack>(function, node->sourceRange()));
      }
      for (auto* nested : node->blocks()) own_call_stacks(nested, function);
    }
  }

  void adapt(Block* block) {
    for (auto* node : block->nodes()) {
      if (node->kind() == prim::GetAttr && is_module_type(node->output()->type())) {
        node->output()->setType(
            node->input()->type()->expectRef<ClassType>().getAttribute(node->s(c10::attr::name)));
      } else if (node->kind() == prim::Constant && node->hasAttribute(c10::attr::value) &&
                 node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t) {
        node->t_(c10::attr::value, copy_tensor(node->t(c10::attr::value)));
      }
      for (auto* nested : node->blocks()) adapt(nested);
    }
  }

  IValue copy_value(const IValue& value) {
    return value.isTensor() ? IValue(copy_tensor(value.toTensor())) : value.deepcopy();
  }

  at::Tensor copy_tensor(const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    auto& copy = tensors_[tensor.unsafeGetTensorImpl()];
    if (!copy.defined()) {
      copy = tensor.detach().clone();
      if (tensor.requires_grad()) copy.requires_grad_(true);
    }
    return copy;
  }

  std::shared_ptr<torch::jit::CompilationUnit> unit_ =
      std::make_shared<torch::jit::CompilationUnit>();
  std::vector<std::string> namespace_;
  std::unordered_map<const c10::TensorImpl*, at::Tensor> tensors_;
};

}  // namespace

torch::jit::Module clone_module(const torch::jit::Module& module) {
  at::NoGradGuard no_grad;
  if (stands_alone(module)) return Cloner().clone(module);
  auto copy = module.clone();
  const auto originals = module.named_parameters();
  std::unordered_map<std::string, bool> trains;
  for (const auto& parameter : originals) trains[parameter.name] = parameter.value.requires_grad();
  for (const auto& parameter : copy.named_parameters()) {
    parameter.value.set_requires_grad(trains[parameter.name]);
  }
  return copy;
}

}  // namespace edgecompress
