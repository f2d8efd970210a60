// Before: y = relu_(x); z = f(x)      After: y = relu(x); z = f(y)
//
// Valid where nobody else sees the write: no view of x (nor the tensor that x is a view of) is read
// after it. LibTorch's own pass also asks that x be read by nobody before, and that no attribute
// could be x, which leaves most residual additions in place.
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <algorithm>
#include <unordered_map>

#include "canonical/canonical_steps.h"
#include "model/layers.h"
#include "util/text.h"

namespace edgecompress::canonical {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;

namespace {

bool is_construct(const Node* node) {
  return node->kind() == c10::prim::ListConstruct || node->kind() == c10::prim::TupleConstruct;
}

/// Whether a container is read by anything but ops that make new tensors of it (cat, stack) and the
/// graph's return.
bool is_taken_apart(const Value* container) {
  return std::any_of(container->uses().begin(), container->uses().end(), [](const auto& use) {
    if (use.user->kind() == c10::prim::Return) return false;
    const auto* schema = use.user->maybeSchema();
    if (!schema || use.offset >= schema->arguments().size()) return true;
    return schema->arguments()[use.offset].alias_info() != nullptr ||
           std::any_of(
               use.user->outputs().begin(), use.user->outputs().end(),
               [](const Value* out) { return !out->type()->isSubtypeOf(c10::TensorType::get()); });
  });
}

/// Which values may share memory: sets joined wherever an op's schema says that it returns a view,
/// and wherever a value goes into or comes out of a container, a condition or a loop.
class MemorySets {
 public:
  explicit MemorySets(Block* block) { visit(block); }

  std::vector<const Value*> members(const Value* value) {
    const Value* root = find(value);
    std::vector<const Value*> result;
    for (const auto& [member, parent] : parent_) {
      if (find(parent) == root) result.push_back(member);
    }
    return result;
  }

 private:
  const Value* find(const Value* value) {
    const auto entry = parent_.emplace(value, value).first;
    if (entry->second == value) return value;
    const Value* root = find(entry->second);
    return parent_[value] = root;
  }

  void join(const Value* a, const Value* b) {
    if (!may_hold_tensor(a) || !may_hold_tensor(b)) return;
    const Value* root = find(a);
    parent_[root] = find(b);
  }

  static bool may_hold_tensor(const Value* value) {
    switch (value->type()->kind()) {
      case c10::TypeKind::IntType:
      case c10::TypeKind::FloatType:
      case c10::TypeKind::BoolType:
      case c10::TypeKind::StringType:
      case c10::TypeKind::NoneType:
      case c10::TypeKind::NumberType:
      case c10::TypeKind::DeviceObjType:
        return false;
      case c10::TypeKind::ListType:
        return value->type()->isSubtypeOf(*c10::ListType::ofTensors()) ||
               !value->type()->containedTypes()[0]->isSubtypeOf(*c10::NumberType::get());
      default:
        return true;
    }
  }

  void visit(Block* block) {
    for (Node* node : block->nodes()) {
      for (Block* nested : node->blocks()) visit(nested);
      if (node->kind() == c10::prim::GetAttr) {
        join_attribute(node);
      } else if (!node->blocks().empty()) {
        join_blocks(node);
      } else if (is_construct(node)) {
        if (is_taken_apart(node->output())) join_all(node);
      } else if (const auto* schema = node->maybeSchema()) {
        join_views(node, *schema);
      } else if (node->kind() != c10::prim::Constant) {
        join_all(node);
      }
    }
  }

  /// The same attribute, read twice, is the same memory; an attribute and its owner are not one
  /// set, or all weights would be.
  void join_attribute(Node* node) {
    if (!may_hold_tensor(node->output())) return;
    const auto first = attributes_.emplace(attribute_path(node->output()), node->output()).first;
    join(first->second, node->output());
  }

  void join_blocks(Node* node) {
    const bool is_loop = node->kind() == c10::prim::Loop;
    const std::size_t skipped = is_loop ? 1 : 0;
    for (Block* block : node->blocks()) {
      for (std::size_t i = 0; i < node->outputs().size(); ++i) {
        if (i + skipped >= block->outputs().size()) break;
        join(block->outputs()[i + skipped], node->outputs()[i]);
        if (!is_loop) continue;
        join(block->inputs()[i + 1], node->outputs()[i]);
        join(node->inputs()[i + 2], node->outputs()[i]);
      }
    }
  }

  void join_views(Node* node, const c10::FunctionSchema& schema) {
    // Dropout that is switched off returns its input, whatever its schema says.
    const bool may_be_identity = op_of(node).find("dropout") != std::string::npos;
    for (std::size_t out = 0; out < node->outputs().size(); ++out) {
      const Value* output = node->outputs()[out];
      const bool is_container = !output->type()->isSubtypeOf(*c10::TensorType::get());
      const bool is_view = out < schema.returns().size() && schema.returns()[out].alias_info();
      for (std::size_t in = 0; in < node->inputs().size(); ++in) {
        const bool is_viewed =
            in < schema.arguments().size() && schema.arguments()[in].alias_info();
        if (is_container || may_be_identity || (is_view && is_viewed)) {
          join(node->inputs()[in], output);
        }
      }
    }
    if (schema.is_mutable() && node->inputs()[0]->type()->kind() == c10::TypeKind::ListType) {
      for (const Value* element : node->inputs()) join(node->inputs()[0], element);
    }
  }

  void join_all(Node* node) {
    for (const Value* input : node->inputs()) {
      for (const Value* output : node->outputs()) join(input, output);
    }
    for (std::size_t i = 1; i < node->outputs().size(); ++i) {
      join(node->outputs()[0], node->outputs()[i]);
    }
    for (std::size_t i = 1; i < node->inputs().size(); ++i) {
      if (!node->outputs().empty()) join(node->inputs()[0], node->inputs()[i]);
    }
  }

  std::unordered_map<const Value*, const Value*> parent_;
  std::unordered_map<std::string, const Value*> attributes_;
};

bool is_inplace(const Node* node) {
  const std::string op = op_of(node);
  if (!node->kind().is_aten() || op.back() != '_' || ends_with(op, "__")) return false;
  if (op == "aten::set_" || op == "aten::resize_" || op == "aten::resize_as_") return false;
  const auto* schema = node->maybeSchema();
  return schema && schema->is_mutable() && node->inputs().size() > 0 &&
         node->outputs().size() == 1 &&
         node->input(0)->type()->isSubtypeOf(*c10::TensorType::get());
}

bool is_read_after(const Value* value, const Node* node) {
  return std::any_of(value->uses().begin(), value->uses().end(),
                     [&](const auto& use) { return use.user != node && use.user->isAfter(node); });
}

bool encloses(const Node* outer, const Node* inner) {
  for (const Block* block = inner->owningBlock(); block->owningNode();
       block = block->owningNode()->owningBlock()) {
    if (block->owningNode() == outer) return true;
  }
  return false;
}

/// A list that was made of the value before the write shows it afterwards.
bool is_in_container_read_after(const Value* value, const Node* node) {
  return std::any_of(value->uses().begin(), value->uses().end(), [&](const auto& use) {
    return is_construct(use.user) && use.user->isBefore(node) &&
           is_read_after(use.user->output(), node);
  });
}

/// The write may be seen only through `owner` (the target, or what it is a slice of) and the op's
/// own result.
bool is_private(const Node* node, const Value* owner, MemorySets& memory) {
  if (owner->node()->owningBlock() != node->owningBlock()) return false;
  if (!attribute_path(owner).empty() || owner->node()->kind() == c10::prim::Constant) return false;
  const std::vector<const Value*> members = memory.members(owner);
  return std::none_of(members.begin(), members.end(),
                      [&](const Value* member) {
                        const bool comes_from_result = member == node->output() ||
                                                       member->node()->isAfter(node) ||
                                                       encloses(member->node(), node);
                        return member != owner && !comes_from_result && is_read_after(member, node);
                      }) &&
         !is_in_container_read_after(owner, node);
}

/// The functional op on the same inputs, inserted before `node`; null if there is none.
Node* insert_functional(torch::jit::Graph& graph, Node* node) {
  std::string name = op_of(node);
  name.pop_back();
  Node* functional = graph.create(c10::Symbol::fromQualString(name), node->inputs());
  functional->setSourceRange(node->sourceRange())->insertBefore(node);
  functional->output()->setType(node->output()->type());
  if (functional->maybeSchema()) return functional;
  functional->destroy();
  return nullptr;
}

const c10::Symbol kSetItem = c10::Symbol::fromQualString("aten::_set_item");

bool changes_list(const Node* node) {
  return node->kind() == c10::aten::append ||
         (node->kind() == kSetItem && node->input(0)->type()->kind() == c10::TypeKind::ListType &&
          constant_of(node->input(1)));
}

/// The list is nowhere but in the value, so another list may take its place.
bool is_own_list(const Value* list) {
  if (list->node()->kind() != c10::prim::ListConstruct) return false;
  return std::none_of(list->uses().begin(), list->uses().end(), [](const auto& use) {
    const auto* schema = use.user->maybeSchema();
    if (use.user->kind() == c10::prim::Return)
      return use.user->owningBlock()->owningNode() != nullptr;
    return !schema || (schema->is_mutable() && !changes_list(use.user));
  });
}

/// Before: l = [a]; l.append(b)      After: l = [a]; m = [a, b], with m read from there on
/// Before: l = [a, b]; l[0] = c      After: l = [a, b]; m = [c, b], likewise
bool rebuild_one_list(Draft& draft) {
  for (Node* node : all_nodes(draft.graph->block())) {
    if (!changes_list(node)) continue;
    Value* list = node->input(0);
    if (!is_own_list(list) || list->node()->owningBlock() != node->owningBlock()) continue;
    std::vector<Value*> elements(list->node()->inputs().begin(), list->node()->inputs().end());
    if (node->kind() == c10::aten::append) {
      elements.push_back(node->input(1));
    } else {
      const std::int64_t given = constant_of(node->input(1))->toInt();
      const auto count = static_cast<std::int64_t>(elements.size());
      const std::int64_t index = given < 0 ? given + count : given;
      if (index < 0 || index >= count) continue;
      elements[static_cast<std::size_t>(index)] = node->input(2);
    }
    Node* rebuilt = draft.graph->createList(
        list->type()->expectRef<c10::ListType>().getElementType(), elements);
    rebuilt->setSourceRange(node->sourceRange())->insertBefore(node);
    if (!node->outputs().empty()) node->output()->replaceAllUsesWith(rebuilt->output());
    list->replaceAllUsesAfterNodeWith(rebuilt, rebuilt->output());
    node->destroy();
    return true;
  }
  return false;
}

/// Before: l = copy([3, 3])      After: l = [3, 3]
bool spell_out_one_copy(Draft& draft) {
  static const auto kCopy = c10::Symbol::fromQualString("aten::copy");
  for (Node* node : all_nodes(draft.graph->block())) {
    if (node->kind() != kCopy || node->input()->type()->kind() != c10::TypeKind::ListType) continue;
    const auto content = constant_of(node->input());
    if (!content || !content->isIntList()) continue;
    const torch::jit::WithInsertPoint point(node);
    std::vector<Value*> elements;
    for (const std::int64_t element : content->toIntVector()) {
      elements.push_back(draft.graph->insertConstant(element));
    }
    Node* list = draft.graph->insertNode(draft.graph->createList(c10::IntType::get(), elements));
    node->output()->replaceAllUsesWith(list->output());
    node->destroy();
    return true;
  }
  return false;
}

/// Where the write goes into a slice: the tensor with the slice's new content in its place.
Value* insert_scatter(torch::jit::Graph& graph, Node* slice, Node* written) {
  const auto whole = slice->inputs();
  Node* scatter =
      graph.create(c10::Symbol::fromQualString("aten::slice_scatter"),
                   {whole[0], written->output(), whole[1], whole[2], whole[3], whole[4]});
  scatter->setSourceRange(written->sourceRange())->insertAfter(written);
  scatter->output()->setType(whole[0]->type());
  return scatter->output();
}

/// Before: v = x[a:b]; v.zero_(); z = f(x)
/// After:  v = x[a:b]; y = slice_scatter(x, zero(v), 0, a, b); z = f(y)
bool remove_one(Draft& draft) {
  MemorySets memory(draft.graph->block());
  for (Node* node : all_nodes(draft.graph->block())) {
    if (!is_inplace(node)) continue;
    Value* target = node->input(0);
    Node* slice = op_of(target->node()) == "aten::slice" ? target->node() : nullptr;
    const bool is_own = is_private(node, target, memory);
    if (!is_own && !(slice && is_private(node, slice->input(0), memory))) continue;
    Node* functional = insert_functional(*draft.graph, node);
    if (!functional) continue;
    node->output()->replaceAllUsesWith(functional->output());
    target->replaceAllUsesAfterNodeWith(functional, functional->output());
    if (!is_own) {
      Value* scattered = insert_scatter(*draft.graph, slice, functional);
      slice->input(0)->replaceAllUsesAfterNodeWith(scattered->node(), scattered);
    }
    node->destroy();
    return true;
  }
  return false;
}

}  // namespace

bool remove_mutation(Draft& draft) {
  bool changed = torch::jit::RemoveListMutation(draft.graph);
  while (spell_out_one_copy(draft)) changed = true;
  while (rebuild_one_list(draft)) changed = true;
  while (remove_one(draft)) changed = true;
  return changed;
}

}  // namespace edgecompress::canonical
