// Freezing that keeps parameters and buffers as attributes under their own names.
#include <torch/csrc/jit/passes/inliner.h>

#include <exception>
#include <map>
#include <optional>
#include <tuple>

#include "canonical/canonical_steps.h"
#include "model/layers.h"
#include "model/torch_compat.h"

namespace edgecompress::canonical {

using torch::jit::Module;
using torch::jit::Node;
using torch::jit::Value;

namespace {

bool holds_weight_list(const Module& module) {
  const auto type = module.type();
  for (std::size_t i = 0; i < type->numAttributes(); ++i) {
    if (type->getAttribute(i)->isSubtypeOf(*c10::ListType::ofTensors())) return true;
  }
  return false;
}

/// Attributes that freezing would fold: buffers, and the parameters that an RNN reads only through
/// its list of them.
std::vector<std::string> names_to_keep(const Module& module) {
  std::vector<std::string> names;
  for (const auto& buffer : module.named_buffers()) {
    if (buffer.value.defined()) names.push_back(buffer.name);
  }
  for (const auto& part : module.named_modules()) {
    if (!holds_weight_list(part.value)) continue;
    for (const auto& parameter : part.value.named_parameters(/*recurse=*/false)) {
      names.push_back(part.name.empty() ? parameter.name : part.name + "." + parameter.name);
    }
  }
  return names;
}

Module frozen_copy(const Module& module, bool keep_buffers) {
  Module copy = module.clone();
  copy.eval();
  std::vector<std::string> kept;
  if (keep_buffers) kept = names_to_keep(copy);
  torch::jit::freeze_module_inplace(&copy, kept, /*freezeInterfaces=*/true,
                                    /*preserveParameters=*/true);
  return copy;
}

Draft draft_of(Module module) {
  auto graph = module.get_method("forward").graph()->copy();
  for (Node* node : all_nodes(graph->block())) {
    if (node->kind() == c10::aten::warn) node->destroy();
  }
  return {std::move(module), std::move(graph), {}};
}

/// Two tensors with equal keys are the same numbers in the same place.
using TensorKey =
    std::tuple<const void*, std::vector<std::int64_t>, std::vector<std::int64_t>, c10::ScalarType>;
std::optional<TensorKey> key_of(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.layout() != c10::kStrided || tensor.numel() == 0) {
    return std::nullopt;
  }
  return TensorKey(tensor.data_ptr(), tensor.sizes().vec(), tensor.strides().vec(),
                   tensor.scalar_type());
}

bool is_optional_tensor(const c10::TypePtr& type) {
  const auto optional = type->cast<c10::OptionalType>();
  return optional && optional->getElementType()->isSubtypeOf(*c10::TensorType::get());
}

bool replace_with_none(torch::jit::Graph& graph, Value* value) {
  if (!value->hasUses()) return false;
  torch::jit::WithInsertPoint guard(value->node());
  value->replaceAllUsesWith(graph.insertConstant(c10::IValue()));
  return true;
}

/// `value is None` where the value is known to be a tensor.
bool fold_tests_for_none(torch::jit::Graph& graph, Value* value) {
  bool changed = false;
  for (const auto& use : std::vector<torch::jit::Use>(value->uses())) {
    const bool is_test = use.user->kind() == c10::aten::__is__;
    if (!is_test && use.user->kind() != c10::aten::__isnot__) continue;
    const auto other = constant_of(use.user->input(1 - use.offset));
    if (!other || !other->isNone()) continue;
    torch::jit::WithInsertPoint guard(use.user);
    use.user->output()->replaceAllUsesWith(graph.insertConstant(!is_test));
    changed = true;
  }
  return changed;
}

/// The name that each tensor goes by: the first of those that share it.
std::map<TensorKey, std::string> names_by_tensor(const Module& module) {
  std::map<TensorKey, std::string> names;
  for (const auto& attribute : module.named_attributes()) {
    if (!attribute.value.isTensor()) continue;
    if (const auto key = key_of(attribute.value.toTensor())) names.emplace(*key, attribute.name);
  }
  return names;
}

}  // namespace

Draft freeze_to_draft(const Module& module) {
  std::vector<Finding> findings;
  for (const bool keep_buffers : {true, false}) {
    try {
      Draft draft = draft_of(frozen_copy(module, keep_buffers));
      draft.findings = std::move(findings);
      return draft;
    } catch (const std::exception& error) {
      const std::string what(error.what());
      findings.push_back({Finding::Kind::kNotCanonical, "forward",
                          (keep_buffers ? "buffers can't stay attributes: "
                                        : "attributes can't be folded, calls are only inlined: ") +
                              what.substr(0, what.find('\n'))});
    }
  }
  Module copy = module.clone();
  copy.eval();
  Draft draft = draft_of(copy);
  draft.findings = std::move(findings);
  torch::jit::Inline(*draft.graph);
  return draft;
}

bool unify_shared_tensors(Draft& draft) {
  const auto names = names_by_tensor(draft.module);
  bool changed = false;
  for (Node* node : all_nodes(draft.graph->block())) {
    if (node->kind() != c10::prim::GetAttr || !node->hasUses()) continue;
    const std::string path = attribute_path(node->output());
    const auto held = draft.held_by(node->output());
    const auto key = held && held->isTensor() ? key_of(held->toTensor()) : std::nullopt;
    const auto name = key ? names.find(*key) : names.end();
    if (name == names.end() || name->second == path) continue;
    node->output()->replaceAllUsesWith(insert_attribute(*draft.graph, name->second));
    changed = true;
  }
  return changed;
}

bool restore_weight_lists(Draft& draft) {
  const auto names = names_by_tensor(draft.module);
  bool changed = false;
  for (Node* node : all_nodes(draft.graph->block())) {
    const bool is_source =
        node->kind() == c10::prim::Constant || node->kind() == c10::prim::GetAttr;
    if (!is_source || !node->hasUses()) continue;
    if (!node->output()->type()->isSubtypeOf(*c10::ListType::ofTensors())) continue;
    const auto held = draft.held_by(node->output());
    if (!held || !held->isTensorList()) continue;
    std::vector<Value*> elements;
    for (const at::Tensor& tensor : held->toTensorVector()) {
      const auto key = key_of(tensor);
      const auto name = key ? names.find(*key) : names.end();
      if (name != names.end()) elements.push_back(insert_attribute(*draft.graph, name->second));
    }
    if (elements.empty() || elements.size() != held->toListRef().size()) continue;
    Node* list = draft.graph->createList(c10::TensorType::get(), elements)->insertAfter(node);
    node->output()->replaceAllUsesWith(list->output());
    changed = true;
  }
  return changed;
}

bool settle_optional_attributes(Draft& draft) {
  bool changed = false;
  for (Node* node : all_nodes(draft.graph->block())) {
    if (node->kind() != c10::prim::GetAttr || !is_optional_tensor(node->output()->type())) continue;
    const auto held = draft.held_by(node->output());
    if (!held) continue;
    changed |= held->isTensor() ? fold_tests_for_none(*draft.graph, node->output())
                                : replace_with_none(*draft.graph, node->output());
  }
  return changed;
}

}  // namespace edgecompress::canonical
