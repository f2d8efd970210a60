#include "channels/residual_blocks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>

#include "edgecompress/error.h"
#include "model/layers.h"

namespace edgecompress {
namespace {

using torch::jit::Node;
using torch::jit::Value;
using NodeSet = std::unordered_set<const Node*>;

bool carries_tensors(const c10::TypePtr& type) {
  if (type->isSubtypeOf(*c10::TensorType::get())) return true;
  if (type->kind() == c10::TypeKind::ClassType) return false;
  const auto contained = type->containedTypes();
  return std::any_of(contained.begin(), contained.end(), carries_tensors);
}

/// The node of the graph's own block that holds the node.
const Node* outermost(const Node* node, const torch::jit::Block* block) {
  while (node->owningBlock() != block) node = node->owningBlock()->owningNode();
  return node;
}

/// What the node computes from, what its nested blocks take from outside included.
void collect_operands(const Node* node, std::vector<const Value*>& operands) {
  operands.insert(operands.end(), node->inputs().begin(), node->inputs().end());
  for (const torch::jit::Block* nested : node->blocks()) {
    for (const Node* inner : nested->nodes()) collect_operands(inner, operands);
    operands.insert(operands.end(), nested->outputs().begin(), nested->outputs().end());
  }
}

/// Whether numbers in `f` hang on numbers in `x`.
bool hangs_on(const Value* f, const Value* x, const torch::jit::Block* block) {
  NodeSet seen;
  std::vector<const Value*> open{f};
  while (!open.empty()) {
    const Value* value = open.back();
    open.pop_back();
    if (value == x) return true;
    if (value->node()->kind() == c10::prim::Param || !carries_tensors(value->type())) continue;
    const Node* node = outermost(value->node(), block);
    if (seen.insert(node).second) collect_operands(node, open);
  }
  return false;
}

/// The nodes that nothing but this argument of the sum needs.
NodeSet needed_only_for(const Node* sum, std::size_t branch) {
  NodeSet needed;
  const torch::jit::Block* block = sum->owningBlock();
  const auto is_for_sum = [&](const torch::jit::Use& use) {
    return use.user == sum ? use.offset == branch : needed.count(outermost(use.user, block)) > 0;
  };
  for (const Node* node = sum->prev(); node->kind() != c10::prim::Return; node = node->prev()) {
    const bool is_needed =
        std::all_of(node->outputs().begin(), node->outputs().end(), [&](const Value* output) {
          return std::all_of(output->uses().begin(), output->uses().end(), is_for_sum);
        });
    if (is_needed && node->hasUses()) needed.insert(node);
  }
  return needed;
}

bool writes_in_place(const Node* node) {
  const auto* schema = node->maybeSchema();
  return (schema && schema->is_mutable() && node->kind() != c10::aten::batch_norm) ||
         node->hasSideEffects();
}

bool scales_by_one(const Value* scale) {
  const auto constant = constant_of(scale);
  return constant && constant->isScalar() && constant->toScalar().toDouble() == 1;
}

/// Whether the sum could be replaced by this argument of it.
bool can_stand_for(const Node* sum, std::size_t skip, const ShapeMap& shapes) {
  const auto x = shapes.find(sum->input(skip)), y = shapes.find(sum->output());
  const bool is_plain = skip == 0 || scales_by_one(sum->input(2));
  return is_plain && x != shapes.end() && y != shapes.end() && x->second.sizes == y->second.sizes &&
         x->second.dtype == y->second.dtype && !is_written(sum->input(skip)) &&
         !is_written(sum->output());
}

bool is_sum_of_tensors(const Node* node) {
  return node->kind() == c10::aten::add && node->inputs().size() == 3 &&
         node->input(0)->type()->isSubtypeOf(*c10::TensorType::get()) &&
         node->input(1)->type()->isSubtypeOf(*c10::TensorType::get());
}

/// Activations that change nothing the second time.
bool is_same_idempotent(const Node* a, const Node* b) {
  const std::string op = op_of(a);
  return (op == "aten::relu" || op == "aten::hardtanh") && a->kind() == b->kind() &&
         std::equal(a->inputs().begin() + 1, a->inputs().end(), b->inputs().begin() + 1,
                    b->inputs().end());
}

/// What stands for x behind the block.
Value* output_of(const ResidualBlock& block) {
  Value* y = block.sum->output();
  if (y->uses().size() != 1) return y;
  Node* reader = y->uses()[0].user;
  return is_same_idempotent(reader, block.sum->input(block.skip)->node()) ? reader->output() : y;
}

/// "encoder.layer_0" of "encoder.layer_0.ln" and "encoder.layer_0.mlp.0"; "" if they share none.
std::string common_module(const std::vector<std::string>& layers) {
  std::string common = layers.front();
  for (const std::string& layer : layers) {
    while (!common.empty() && layer != common && layer.rfind(common + ".", 0) != 0)
      common = common.find('.') == std::string::npos ? "" : module_of(common);
  }
  return common;
}

void name_blocks(std::vector<ResidualBlock>& blocks) {
  std::map<std::string, int> of_name;
  for (ResidualBlock& block : blocks) ++of_name[block.name = common_module(block.layers)];
  for (ResidualBlock& block : blocks) {
    if (block.name.empty() || of_name[block.name] > 1) block.name = block.layers.front();
  }
}

/// LibTorch's own dead code elimination keeps batch norms that may train.
void destroy_unused(torch::jit::Block* block) {
  auto nodes = block->nodes().reverse();
  for (auto node = nodes.begin(); node != nodes.end(); ++node) {
    if (!writes_in_place(*node) && !node->hasUses()) node.destroyCurrent();
  }
}

at::Tensor rows_of_samples(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kFloat);
  return values.dim() > 1 ? values.flatten(1) : values.reshape({1, -1});
}

}  // namespace

std::vector<ResidualBlock> find_residual_blocks(const Model& model) {
  if (model.inputs().empty()) {
    throw Error(ExitCode::kPass, "residual blocks are found by running the model",
                "give its example inputs");
  }
  const ShapeMap shapes = record_shapes(model, model.example_inputs(0));
  const torch::jit::Block* block = model.graph().block();
  const std::vector<Layer> layers = find_layers(model);
  std::vector<ResidualBlock> blocks;
  for (const Node* sum : block->nodes()) {
    if (!is_sum_of_tensors(sum)) continue;
    for (const std::size_t skip : {0, 1}) {
      if (!can_stand_for(sum, skip, shapes)) continue;
      if (!hangs_on(sum->input(1 - skip), sum->input(skip), block)) continue;
      const NodeSet branch = needed_only_for(sum, 1 - skip);
      if (std::any_of(branch.begin(), branch.end(), writes_in_place)) continue;
      ResidualBlock found{"", {}, const_cast<Node*>(sum), skip};
      for (const Layer& layer : layers) {
        if (!layer.weights.empty() && branch.count(outermost(layer.node, block)) > 0)
          found.layers.push_back(layer.name);
      }
      if (!found.layers.empty()) blocks.push_back(std::move(found));
    }
  }
  name_blocks(blocks);
  return blocks;
}

BlockInfluence::BlockInfluence(const Model& model, const std::vector<ResidualBlock>& blocks)
    : interpreter_(model), blocks_(blocks), watched_(blocks.size()) {
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    by_sum_[blocks[i].sum] = i;
    by_output_[output_of(blocks[i])->node()] = i;
  }
}

void BlockInfluence::observe(const std::vector<at::Tensor>& inputs) {
  const auto look = [&](const Node& node, c10::ArrayRef<c10::IValue> given,
                        c10::ArrayRef<c10::IValue> made) {
    const auto sum = by_sum_.find(&node);
    if (sum != by_sum_.end()) watched_[sum->second].x = given[blocks_[sum->second].skip].toTensor();
    const auto output = by_output_.find(&node);
    if (output == by_output_.end()) return;
    Watched& watched = watched_[output->second];
    const at::Tensor x = rows_of_samples(watched.x), y = rows_of_samples(made[0].toTensor());
    const at::Tensor scale = (x.norm(2, 1) * y.norm(2, 1)).to(at::kDouble);
    const at::Tensor cosine = (x * y).sum(1).to(at::kDouble) / scale;
    watched.similarity += at::where(scale == 0, at::ones_like(cosine), cosine).sum().item<double>();
    watched.samples += x.size(0);
    watched.x.reset();
  };
  interpreter_.run({inputs.begin(), inputs.end()}, look);
}

std::vector<double> BlockInfluence::result() const {
  std::vector<double> influence;
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    const Watched& watched = watched_[i];
    if (!std::isfinite(watched.similarity)) {
      throw Error(
          ExitCode::kPass,
          "influence of blocks: what passes through '" + blocks_[i].name +
              "' holds values that are not finite",
          "the weights of the model or the data are damaged; nothing can be ranked by them");
    }
    const auto samples = static_cast<double>(std::max<std::int64_t>(watched.samples, 1));
    influence.push_back(watched.samples > 0 ? 1 - watched.similarity / samples : 0);
  }
  return influence;
}

void remove_residual_blocks(Model& model, const std::vector<ResidualBlock>& blocks) {
  const auto graph = model.edit();
  for (const ResidualBlock& block : blocks)
    output_of(block)->replaceAllUsesWith(block.sum->input(block.skip));
  destroy_unused(graph->block());
  model.remove_unused_attributes();
}

}  // namespace edgecompress
