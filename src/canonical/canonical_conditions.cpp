// Before: if x.dim() == 4: y = f(x) else: y = g(x)      After: y = f(x)
//
// A condition is decided where it hangs on no number in a tensor and had one and the same value in
// every example batch, so the batch size stays free.
#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <unordered_map>

#include "canonical/canonical_steps.h"
#include "model/interpreter.h"
#include "model/layers.h"
#include "model/static_values.h"

namespace edgecompress::canonical {

using torch::jit::Block;
using torch::jit::Node;
using torch::jit::Value;

namespace {

constexpr std::int64_t kMaxTurns = 128;
constexpr std::int64_t kMaxUnrolledNodes = 20000;

/// The values that one input of a node had, as long as they were all the same.
struct Seen {
  std::int64_t value = 0;
  bool is_constant = true;
};

/// What the example batches showed.
struct Observed {
  std::unordered_map<const Node*, Seen> conditions;   ///< of prim::If: input 0
  std::unordered_map<const Node*, Seen> trip_counts;  ///< of prim::Loop: input 0
  std::unordered_set<const Node*> data_shaped;

  static void note(std::unordered_map<const Node*, Seen>& seen, const Node* node,
                   std::int64_t value) {
    const auto [entry, is_new] = seen.emplace(node, Seen{value, true});
    if (!is_new && entry->second.value != value) entry->second.is_constant = false;
  }
};

/// x[mask]: as many elements as the mask has ones.
bool has_mask_index(c10::ArrayRef<c10::IValue> inputs) {
  if (inputs.size() < 2 || !inputs[1].isList()) return false;
  for (const c10::IValue& index : inputs[1].toListRef()) {
    if (!index.isTensor() || !index.toTensor().defined()) continue;
    const auto dtype = index.toTensor().scalar_type();
    if (dtype == at::kBool || dtype == at::kByte) return true;
  }
  return false;
}

Observed observe(const Draft& draft, const ExampleBatches& batches) {
  static const auto kIndex = c10::Symbol::fromQualString("aten::index");
  Observed observed;
  const Interpreter interpreter(*draft.graph, draft.module._ivalue());
  for (const auto& batch : batches) {
    interpreter.run(batch, [&](const Node& node, c10::ArrayRef<c10::IValue> inputs,
                               c10::ArrayRef<c10::IValue>) {
      if (node.kind() == c10::prim::If) {
        Observed::note(observed.conditions, &node, inputs[0].toBool());
      } else if (node.kind() == c10::prim::Loop) {
        Observed::note(observed.trip_counts, &node, inputs[0].toInt());
      } else if (node.kind() == kIndex && has_mask_index(inputs)) {
        observed.data_shaped.insert(&node);
      }
    });
  }
  return observed;
}

void set_input(Draft& draft, Node* node, std::size_t index, const c10::IValue& value) {
  torch::jit::WithInsertPoint guard(node);
  node->replaceInput(index, draft.graph->insertConstant(value));
}

/// The value that the input may be replaced with, if it hangs on no data.
std::optional<std::int64_t> decidable(const std::unordered_map<const Node*, Seen>& seen,
                                      const Node* node, const Dependence& dependence) {
  const auto found = seen.find(node);
  if (dependence.on_data || found == seen.end() || !found->second.is_constant) return std::nullopt;
  return found->second.value;
}

/// A condition or trip count that is not known yet.
bool is_open(const Node* node) {
  const bool branches = node->kind() == c10::prim::If || node->kind() == c10::prim::Loop;
  return branches && !constant_of(node->input(0));
}

bool decide_if(Draft& draft, Node* node, const Observed& observed, StaticValues& values) {
  const Dependence dependence = values.of_value(node->input(0));
  const auto value = decidable(observed.conditions, node, dependence);
  if (!value) return false;
  if (dependence.on_shape) {
    draft.decided(node, std::string("a condition on the input's shape or type is always ") +
                            (*value ? "true" : "false") + " here");
  }
  set_input(draft, node, 0, *value != 0);
  return true;
}

bool decide_loop(Draft& draft, Node* node, const Observed& observed, StaticValues& values) {
  const Dependence dependence = values.of_value(node->input(0));
  const auto value = decidable(observed.trip_counts, node, dependence);
  if (!value) return false;
  if (dependence.on_shape) {
    draft.decided(node, "a loop over the input's shape always takes " + std::to_string(*value) +
                            " turns here");
  }
  set_input(draft, node, 0, *value);
  return true;
}

/// Turns of a loop that counts up to a constant and never leaves early.
std::optional<std::int64_t> fixed_turns(Node* loop) {
  const auto turns = constant_of(loop->input(0));
  const auto starts = constant_of(loop->input(1));
  const auto goes_on = constant_of(loop->blocks()[0]->outputs()[0]);
  if (!turns || !starts || !goes_on || !starts->toBool() || !goes_on->toBool()) return std::nullopt;
  const std::int64_t count = turns->toInt();
  if (count > kMaxTurns) return std::nullopt;
  const auto nodes = static_cast<std::int64_t>(all_nodes(loop->blocks()[0]).size());
  if (count * nodes > kMaxUnrolledNodes) return std::nullopt;
  return count;
}

void unroll(torch::jit::Graph& graph, Node* loop, std::int64_t turns) {
  torch::jit::WithInsertPoint guard(loop);
  Block* body = loop->blocks()[0];
  std::vector<Value*> carried(loop->inputs().begin() + 2, loop->inputs().end());
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    std::unordered_map<Value*, Value*> copies;
    copies[body->inputs()[0]] = graph.insertConstant(turn);
    for (std::size_t i = 0; i < carried.size(); ++i) copies[body->inputs()[i + 1]] = carried[i];
    const auto copy_of = [&](Value* value) {
      const auto found = copies.find(value);
      return found == copies.end() ? value : found->second;
    };
    for (Node* node : body->nodes()) {
      Node* copy = graph.insertNode(graph.createClone(node, copy_of));
      for (std::size_t i = 0; i < node->outputs().size(); ++i) {
        copies[node->outputs()[i]] = copy->outputs()[i];
      }
    }
    for (std::size_t i = 0; i < carried.size(); ++i) carried[i] = copy_of(body->outputs()[i + 1]);
  }
  for (std::size_t i = 0; i < carried.size(); ++i) {
    loop->outputs()[i]->replaceAllUsesWith(carried[i]);
  }
  loop->destroy();
}

}  // namespace

bool decide_conditions(Draft& draft, const ExampleBatches& batches) {
  const auto nodes = all_nodes(draft.graph->block());
  if (batches.empty() || std::none_of(nodes.begin(), nodes.end(), is_open)) return false;
  const Observed observed = observe(draft, batches);
  StaticValues values(observed.data_shaped);
  bool changed = false;
  for (Node* node : nodes) {
    if (!is_open(node)) continue;
    changed |= node->kind() == c10::prim::If ? decide_if(draft, node, observed, values)
                                             : decide_loop(draft, node, observed, values);
  }
  if (changed) tidy(draft.graph);
  return changed;
}

bool unroll_loops(Draft& draft) {
  bool changed = false;
  for (bool found = true; found;) {
    found = false;
    for (Node* node : all_nodes(draft.graph->block())) {
      if (node->kind() != c10::prim::Loop) continue;
      const auto turns = fixed_turns(node);
      if (!turns) continue;
      unroll(*draft.graph, node, *turns);
      found = changed = true;
      break;
    }
  }
  if (changed) tidy(draft.graph);
  return changed;
}

}  // namespace edgecompress::canonical
