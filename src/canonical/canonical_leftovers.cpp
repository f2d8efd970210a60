// What no step could bring to canonical form, by name.
#include <string>

#include "canonical/canonical_steps.h"
#include "model/layers.h"

namespace edgecompress::canonical {

using torch::jit::Node;

namespace {

/// What the node keeps passes from seeing, or "" if it keeps nothing.
std::string obstacle(const Node* node) {
  switch (node->kind()) {
    case c10::prim::If:
      return "a condition that hangs on data, or on the batch size, stays";
    case c10::prim::Loop:
      return "a loop whose turns hang on data, or are too many, stays";
    case c10::prim::CallMethod:
    case c10::prim::CallFunction:
      return "a call could not be inlined";
    case c10::prim::SetAttr:
      return "the model changes its own state ('" + node->s(c10::attr::name) + "')";
    case c10::prim::fork:
    case c10::aten::wait:
      return "work is forked";
    default:
      break;
  }
  const auto* schema = node->maybeSchema();
  if (!schema || !schema->is_mutable() || node->kind() == c10::aten::batch_norm) return "";
  return op_of(node) + " writes to memory that is read elsewhere, so it stays in place";
}

}  // namespace

void name_leftovers(Draft& draft) {
  for (const Node* node : all_nodes(draft.graph->block())) {
    const std::string what = obstacle(node);
    if (!what.empty()) draft.not_canonical(source_of(node), what);
  }
}

}  // namespace edgecompress::canonical
