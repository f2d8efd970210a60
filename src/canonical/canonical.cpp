#include "canonical/canonical.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/common_subexpression_elimination.h>
#include <torch/csrc/jit/passes/constant_pooling.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/lower_tuples.h>
#include <torch/csrc/jit/passes/peephole.h>

#include <set>

#include "canonical/canonical_steps.h"
#include "canonical/canonical_trail.h"
#include "canonical/canonical_witness.h"
#include "model/layers.h"
#include "util/text.h"

namespace edgecompress {
namespace canonical {

using torch::jit::Block;
using torch::jit::Node;

std::optional<c10::IValue> Draft::held_by(const torch::jit::Value* value) const {
  if (auto constant = constant_of(value)) return constant;
  const std::string path = attribute_path(value);
  if (path.empty()) return std::nullopt;
  c10::IValue held = module._ivalue();
  for (const std::string& part : split(path, '.')) held = held.toModule().attr(part);
  return held;
}

void Draft::decided(const Node* node, const std::string& what) {
  findings.push_back({Finding::Kind::kDecided, source_of(node), what});
}

void Draft::not_canonical(const std::string& where, const std::string& what) {
  findings.push_back({Finding::Kind::kNotCanonical, where, what});
}

std::string source_of(const Node* node) {
  if (const auto place = node->sourceRange().file_line_col()) {
    const std::string& file = std::get<0>(*place);
    if (!file.empty()) return file + ":" + std::to_string(std::get<1>(*place));
  }
  return op_of(node);
}

std::vector<Node*> all_nodes(Block* block) {
  std::vector<Node*> nodes;
  for (Node* node : block->nodes()) {
    nodes.push_back(node);
    for (Block* nested : node->blocks()) {
      const std::vector<Node*> inner = all_nodes(nested);
      nodes.insert(nodes.end(), inner.begin(), inner.end());
    }
  }
  return nodes;
}

namespace {

/// Dead code elimination keeps questions about global state, though asking changes nothing.
void drop_unused_questions(Block* block) {
  static const std::set<std::string> questions = {
      "aten::is_grad_enabled", "aten::is_autocast_enabled", "aten::is_autocast_cpu_enabled",
      "aten::is_scripting"};
  for (Node* node : all_nodes(block)) {
    if (questions.count(op_of(node)) > 0 && !node->hasUses()) node->destroy();
  }
}

}  // namespace

void tidy(std::shared_ptr<torch::jit::Graph> graph) {
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds; ++round) {
    const bool folded = torch::jit::ConstantPropagation(graph);
    const bool simplified = torch::jit::PeepholeOptimize(graph, /*disable_shape_peepholes=*/true);
    torch::jit::LowerSimpleTuples(graph);
    if (!folded && !simplified) break;
  }
  torch::jit::EliminateCommonSubexpression(graph);
  torch::jit::ConstantPooling(graph);
  torch::jit::EliminateDeadCode(graph);
  drop_unused_questions(graph->block());
}

namespace {

/// Deciding one condition uncovers others, unrolls loops, and makes writes private; so these go
/// round until nothing changes.
void straighten(Trail& trail, const Witness& witness) {
  const std::vector<Step> steps = {
      {"decide conditions", [&](Draft& d) { return decide_conditions(d, witness.batches()); },
       /*may_round=*/true},
      {"unroll loops", unroll_loops, false},
      {"read what dictionaries hold", follow_dictionaries, false},
      {"make in-place operators functional", remove_mutation, false},
  };
  constexpr int kRounds = 16;
  bool changed = true;
  for (int round = 0; changed && round < kRounds; ++round) {
    changed = false;
    for (const Step& step : steps) changed |= trail.take(step);
  }
}

void rewrite(Draft& draft, Trail& trail, const Witness& witness) {
  trail.take({"freeze", [](Draft&) { return true; }, true});
  trail.take({"read shared tensors under one name", unify_shared_tensors, false});
  trail.take({"read lists of weights as attributes", restore_weight_lists, false});
  trail.take({"settle optional attributes", settle_optional_attributes, false});
  tidy(draft.graph);
  straighten(trail, witness);
  trail.take({"take fused attention apart", unfuse_attention, true});
  trail.take({"unify convolutions", unify_convolutions, false});
  trail.take({"unify linear layers", unify_linears, true});
  trail.take({"unify norms and activations", unify_norms_and_activations, true});
  trail.take({"make the model trainable", restore_training, false});
}

/// Almost always every step is right, which a few runs show; if not, each is looked at.
void rewrite_soundly(Draft& draft, const Witness& witness) {
  const auto graph = draft.graph->copy();
  const auto findings = draft.findings;
  Trail fast(draft, witness, Checks::kAtEnd);
  rewrite(draft, fast, witness);
  if (fast.is_sound()) return;
  draft.graph = graph;
  draft.findings = findings;
  Trail careful(draft, witness, Checks::kEachStep);
  rewrite(draft, careful, witness);
}

/// The draft's graph becomes the module's `forward`.
torch::jit::Module finish(Draft& draft) {
  auto forward = draft.module.get_method("forward").graph();
  forward->block()->clear();
  forward->block()->cloneFrom(draft.graph->block(), [](torch::jit::Value* value) { return value; });
  return draft.module;
}

/// `name` and the methods of the root that it calls.
void collect_called(const torch::jit::Module& module, const std::string& name,
                    std::set<std::string>& called) {
  const auto method = module.find_method(name);
  if (!method || !called.insert(name).second) return;
  for (const Node* node : all_nodes(method->graph()->block())) {
    if (node->kind() == c10::prim::CallMethod && node->input(0) == method->graph()->inputs()[0]) {
      collect_called(module, node->s(c10::attr::name), called);
    }
  }
}

void name_other_methods(const torch::jit::Module& module, Draft& draft) {
  std::set<std::string> called = {"__getstate__", "__setstate__"};
  collect_called(module, "forward", called);
  for (const auto& method : module.get_methods()) {
    if (called.count(method.name()) > 0) continue;
    draft.not_canonical(method.name(), "this method is not part of forward, so it is left out");
  }
}

}  // namespace
}  // namespace canonical

Canonical canonicalise(const torch::jit::Module& module, const std::vector<InputSpec>& inputs) {
  using namespace canonical;
  // Paths that can't be trained (fused attention) ask whether gradients are wanted: they are.
  const at::AutoGradMode with_gradients(true);
  Draft draft = freeze_to_draft(module);
  name_other_methods(module, draft);
  const Witness witness(module, inputs);
  for (const std::string& limit : witness.limits()) draft.not_canonical("forward", limit);
  rewrite_soundly(draft, witness);
  name_leftovers(draft);
  return {finish(draft), std::move(draft.findings)};
}

}  // namespace edgecompress
