#include "train/frozen_batch_norms.h"

namespace edgecompress {
namespace {

constexpr std::size_t kTraining = 5;  // input of aten::batch_norm

}  // namespace

FrozenBatchNorms::FrozenBatchNorms(Model& model, const std::function<bool(const Layer&)>& is_frozen)
    : model_(model) {
  for (const Layer& layer : find_layers(model)) {
    if (op_of(layer.node) != "aten::batch_norm" || (is_frozen && !is_frozen(layer))) continue;
    frozen_.push_back({layer.node, layer.node->input(kTraining)});
  }
  if (frozen_.empty()) return;
  const auto graph = model.edit();
  const torch::jit::WithInsertPoint guard(*graph->nodes().begin());
  eval_ = graph->insertConstant(false);
  for (const Frozen& norm : frozen_) norm.node->replaceInput(kTraining, eval_);
}

FrozenBatchNorms::~FrozenBatchNorms() {
  if (frozen_.empty()) return;
  model_.edit();
  for (const Frozen& norm : frozen_) norm.node->replaceInput(kTraining, norm.training);
  eval_->node()->destroy();
}

}  // namespace edgecompress
