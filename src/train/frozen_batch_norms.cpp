#include "train/frozen_batch_norms.h"

#include "model/layers.h"

namespace edgecompress {

namespace {
constexpr std::size_t kTrainingArgument = 5;  // of aten::batch_norm
}  // namespace

FrozenBatchNorms::FrozenBatchNorms(Model& model) : model_(model) {
  const auto graph = model.edit();
  const torch::jit::WithInsertPoint at_start(*graph->block()->nodes().begin());
  is_training_ = graph->insertConstant(false);
  for (const Layer& layer : find_layers(model)) {
    if (op_of(layer.node) != "aten::batch_norm") continue;
    norms_.emplace_back(layer.node, layer.node->input(kTrainingArgument));
    layer.node->replaceInput(kTrainingArgument, is_training_);
  }
}

FrozenBatchNorms::~FrozenBatchNorms() {
  model_.edit();
  for (const auto& [node, read] : norms_) node->replaceInput(kTrainingArgument, read);
  is_training_->node()->destroy();
}

}  // namespace edgecompress
