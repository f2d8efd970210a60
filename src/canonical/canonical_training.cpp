// Before: batch_norm(..., training=False, ...)      After: batch_norm(..., self.training, ...)
//
// Freezing in eval mode makes the flag of every batch norm, dropout and RNN the same constant. One
// attribute of the root takes its place, so that the file can be trained, a traced one too.
#include <optional>

#include "canonical/canonical_steps.h"
#include "model/layers.h"

namespace edgecompress::canonical {

using torch::jit::Node;
using torch::jit::Value;

namespace {

/// Which input of the node says whether it trains.
std::optional<std::size_t> training_input(const Node* node) {
  const auto* schema = node->kind().is_aten() ? node->maybeSchema() : nullptr;
  if (!schema) return std::nullopt;
  for (const char* name : {"training", "train"}) {
    const auto index = schema->argumentIndexWithName(name);
    if (index) return static_cast<std::size_t>(*index);
  }
  return std::nullopt;
}

/// A batch norm that keeps no statistics uses those of the batch in eval mode too, by design.
bool keeps_no_statistics(const Node* node) {
  if (node->inputs().size() < 5) return false;
  const auto mean = constant_of(node->input(3));
  return mean && mean->isNone();
}

}  // namespace

bool restore_training(Draft& draft) {
  if (!draft.module.hasattr("training")) {
    draft.module.register_attribute("training", c10::BoolType::get(), false);
  }
  Value* training = insert_attribute(*draft.graph, "training");
  for (Node* node : all_nodes(draft.graph->block())) {
    const auto index = training_input(node);
    const auto flag = index ? constant_of(node->input(*index)) : std::nullopt;
    if (!flag || !flag->isBool()) continue;
    if (!flag->toBool()) {
      node->replaceInput(*index, training);
    } else if (!keeps_no_statistics(node)) {
      draft.not_canonical(source_of(node), op_of(node) +
                                               " always runs in training mode: the model was "
                                               "traced or saved that way");
    }
  }
  const bool changed = training->hasUses();
  if (!changed) training->node()->destroy();
  return changed;
}

}  // namespace edgecompress::canonical
