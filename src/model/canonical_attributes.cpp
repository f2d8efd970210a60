// Freezing that keeps parameters and buffers as attributes under their own names.
#include <torch/csrc/jit/passes/inliner.h>

#include <exception>
#include <map>
#include <tuple>

#include "model/canonical_steps.h"
#include "model/layers.h"
#include "model/torch_compat.h"
#include "util/text.h"

namespace edgecompress::canonical {

using torch::jit::Module;
using torch::jit::Node;
using torch::jit::Value;

namespace {

std::vector<std::string> names_of_buffers(const Module& module) {
  std::vector<std::string> names;
  for (const auto& buffer : module.named_buffers()) {
    if (buffer.value.defined()) names.push_back(buffer.name);
  }
  return names;
}

Module frozen_copy(const Module& module, bool keep_buffers) {
  Module copy = module.clone();
  copy.eval();
  std::vector<std::string> kept;
  if (keep_buffers) kept = names_of_buffers(copy);
  torch::jit::freeze_module_inplace(&copy, kept, /*freezeInterfaces=*/true,
                                    /*preserveParameters=*/true);
  return copy;
}

Draft draft_of(Module module) {
  auto graph = module.get_method("forward").graph()->copy();
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

/// Optional attributes of one class: whether each instance holds a tensor, or none does.
struct OptionalUse {
  bool always_tensor = true;
  bool always_none = true;
};

std::map<std::pair<c10::ClassTypePtr, std::string>, OptionalUse> optional_uses(
    const Module& module) {
  std::map<std::pair<c10::ClassTypePtr, std::string>, OptionalUse> uses;
  for (const Module& part : module.modules()) {
    const auto type = part.type();
    for (std::size_t i = 0; i < type->numAttributes(); ++i) {
      const auto optional = type->getAttribute(i)->cast<c10::OptionalType>();
      if (!optional || !optional->getElementType()->isSubtypeOf(*c10::TensorType::get())) continue;
      OptionalUse& use = uses[{type, type->getAttributeName(i)}];
      const c10::IValue& value = part._ivalue()->getSlot(i);
      use.always_tensor = use.always_tensor && value.isTensor();
      use.always_none = use.always_none && value.isNone();
    }
  }
  return uses;
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
  std::map<TensorKey, std::string> first_name;
  std::map<std::string, std::string> other_name;
  for (const auto& attribute : draft.module.named_attributes()) {
    if (!attribute.value.isTensor()) continue;
    const auto key = key_of(attribute.value.toTensor());
    if (!key) continue;
    const auto [first, is_new] = first_name.emplace(*key, attribute.name);
    if (!is_new) other_name.emplace(attribute.name, first->second);
  }
  bool changed = false;
  for (Node* node : all_nodes(draft.graph->block())) {
    if (node->kind() != c10::prim::GetAttr || !node->hasUses()) continue;
    const auto name = other_name.find(attribute_path(node->output()));
    if (name == other_name.end()) continue;
    node->output()->replaceAllUsesWith(insert_attribute(*draft.graph, name->second));
    changed = true;
  }
  return changed;
}

bool settle_optional_attributes(Draft& draft) {
  const auto uses = optional_uses(draft.module);
  for (const auto& [attribute, use] : uses) {
    if (use.always_tensor) {
      attribute.first->unsafeChangeAttributeType(attribute.second, c10::TensorType::get());
    }
  }
  bool changed = false;
  for (Node* node : all_nodes(draft.graph->block())) {
    if (node->kind() != c10::prim::GetAttr) continue;
    const auto owner = node->input()->type()->cast<c10::ClassType>();
    const auto use = uses.find({owner, node->s(c10::attr::name)});
    if (use == uses.end()) continue;
    if (use->second.always_tensor) {
      node->output()->setType(c10::TensorType::get());
      changed = true;
    } else if (use->second.always_none) {
      torch::jit::WithInsertPoint guard(node);
      node->output()->replaceAllUsesWith(draft.graph->insertConstant(c10::IValue()));
      changed = true;
    }
  }
  return changed;
}

}  // namespace edgecompress::canonical
