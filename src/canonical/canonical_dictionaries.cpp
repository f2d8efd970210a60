// Before: d = {}; d["low"] = x; d["high"] = y; z = f(d["low"]); return d
// After:  z = f(x); return {"low": x, "high": y}
//
// Of dictionaries that are written in one straight line, and read and asked for keys anywhere,
// under constant keys.
#include <algorithm>
#include <optional>
#include <utility>

#include "canonical/canonical_steps.h"
#include "model/layers.h"

namespace edgecompress::canonical {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

namespace {

bool writes_dictionary(const Node* node, const Value* dictionary) {
  return op_of(node) == "aten::_set_item" && node->input(0) == dictionary;
}

bool reads_dictionary(const Node* node, const Value* dictionary) {
  return op_of(node) == "aten::__getitem__" && node->input(0) == dictionary;
}

/// "low" in d
bool asks_dictionary(const Node* node, const Value* dictionary) {
  return op_of(node) == "aten::__contains__" && node->input(0) == dictionary;
}

/// {} or OrderedDict().
bool makes_dictionary(const Node* node) {
  return node->kind() == c10::prim::DictConstruct ||
         (op_of(node) == "aten::dict" && node->inputs().empty());
}

/// What it holds by now, in the order in which keys came.
class Contents {
 public:
  /// False if the key is no constant.
  bool set(Value* key, Value* value) {
    const auto held = constant_of(key);
    if (!held) return false;
    const auto known = find(*held);
    if (known != entries_.end()) {
      known->second = value;
    } else {
      entries_.emplace_back(key, value);
    }
    return true;
  }

  Value* get(const Value* key) {
    const auto held = constant_of(key);
    const auto known = held ? find(*held) : entries_.end();
    return known == entries_.end() ? nullptr : known->second;
  }

  std::vector<Value*> flat() const {
    std::vector<Value*> all;
    for (const auto& [key, value] : entries_) all.insert(all.end(), {key, value});
    return all;
  }

 private:
  using Entries = std::vector<std::pair<Value*, Value*>>;
  Entries::iterator find(const c10::IValue& key) {
    return std::find_if(entries_.begin(), entries_.end(),
                        [&](const auto& entry) { return *constant_of(entry.first) == key; });
  }
  Entries entries_;
};

/// Its users in execution order, if all that do more than look into it stand in its own block.
std::optional<std::vector<Node*>> users_in_line(const Value* dictionary) {
  std::vector<Node*> users;
  for (const auto& use : dictionary->uses()) {
    const bool only_looks =
        reads_dictionary(use.user, dictionary) || asks_dictionary(use.user, dictionary);
    const bool is_in_line = use.user->owningBlock() == dictionary->node()->owningBlock();
    if (!only_looks && !is_in_line) return std::nullopt;
    users.push_back(use.user);
  }
  std::sort(users.begin(), users.end(), [](Node* a, Node* b) { return a != b && a->isBefore(b); });
  users.erase(std::unique(users.begin(), users.end()), users.end());
  return users;
}

struct Reach {
  bool is_understood = false;
  /// The first user that neither reads nor writes it. It may do both out of sight, so none of the
  /// others may follow.
  Node* given_to = nullptr;
  bool is_touched = false;  ///< read or written at all
};

Reach reach_of(const Node* made, const std::vector<Node*>& users) {
  Contents contents;
  Reach reach;
  for (std::size_t i = 0; i + 1 < made->inputs().size(); i += 2) {
    if (!contents.set(made->input(i), made->input(i + 1))) return reach;
  }
  for (Node* user : users) {
    const bool writes = writes_dictionary(user, made->output());
    const bool reads = reads_dictionary(user, made->output());
    if (!writes && !reads && !asks_dictionary(user, made->output())) {
      if (reach.given_to == nullptr) reach.given_to = user;
      continue;
    }
    if (reach.given_to != nullptr || !constant_of(user->input(1))) return reach;
    if (writes) contents.set(user->input(1), user->input(2));
    if (reads && contents.get(user->input(1)) == nullptr) return reach;
    reach.is_touched = true;
  }
  reach.is_understood = true;
  return reach;
}

bool follow_dictionary(Graph& graph, Node* made) {
  const auto users = users_in_line(made->output());
  if (!users) return false;
  const Reach reach = reach_of(made, *users);
  if (!reach.is_understood || !reach.is_touched) return false;
  Contents contents;
  for (std::size_t i = 0; i + 1 < made->inputs().size(); i += 2)
    contents.set(made->input(i), made->input(i + 1));
  for (Node* user : *users) {
    if (user == reach.given_to) break;
    Value* held = contents.get(user->input(1));
    if (writes_dictionary(user, made->output())) {
      contents.set(user->input(1), user->input(2));
    } else if (reads_dictionary(user, made->output())) {
      user->output()->replaceAllUsesWith(held);
    } else {
      const torch::jit::WithInsertPoint point(user);
      user->output()->replaceAllUsesWith(graph.insertConstant(held != nullptr));
    }
    user->destroy();
  }
  if (reach.given_to != nullptr) {
    const auto& type = made->output()->type()->expectRef<c10::DictType>();
    Node* whole = graph.createDict(type.getKeyType(), type.getValueType(), {}, {});
    for (Value* part : contents.flat()) whole->addInput(part);
    whole->insertBefore(reach.given_to);
    made->output()->replaceAllUsesWith(whole->output());
  }
  made->destroy();
  return true;
}

}  // namespace

bool follow_dictionaries(Draft& draft) {
  // Following one destroys the nodes that use it, but no other dictionary.
  std::vector<Node*> dictionaries;
  for (Node* node : all_nodes(draft.graph->block())) {
    if (makes_dictionary(node)) dictionaries.push_back(node);
  }
  bool changed = false;
  for (Node* made : dictionaries) changed |= follow_dictionary(*draft.graph, made);
  return changed;
}

}  // namespace edgecompress::canonical
