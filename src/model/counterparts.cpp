#include "model/counterparts.h"

namespace edgecompress {

using torch::jit::Block;
using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

Counterparts::Counterparts(const Graph& original, const Graph& copy) {
  match(original.block(), copy.block());
}

Node* Counterparts::of(const Node* node) const { return node ? nodes_.at(node) : nullptr; }

const Value* Counterparts::of(const Value* value) const { return values_.at(value); }

void Counterparts::match(const Block* original, const Block* copy) {
  match_values(original->inputs(), copy->inputs());
  auto other = copy->nodes().begin();
  for (const Node* node : original->nodes()) {
    Node* counterpart = const_cast<Node*>(*other);
    ++other;
    TORCH_INTERNAL_ASSERT(counterpart->kind() == node->kind());
    nodes_.emplace(node, counterpart);
    match_values(node->outputs(), counterpart->outputs());
    for (std::size_t i = 0; i < node->blocks().size(); ++i)
      match(node->blocks()[i], counterpart->blocks()[i]);
  }
}

template <typename Originals, typename Copies>
void Counterparts::match_values(const Originals& original, const Copies& copy) {
  for (std::size_t i = 0; i < original.size(); ++i) values_.emplace(original[i], copy[i]);
}

}  // namespace edgecompress
