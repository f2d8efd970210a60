#include "train/adapter_targets.h"

#include <algorithm>
#include <map>
#include <utility>

namespace edgecompress {

namespace {

bool is_adaptable_kind(LayerKind kind, bool has_embeddings) {
  return kind == LayerKind::kLinear || kind == LayerKind::kConv ||
         kind == LayerKind::kConvTransposed || (has_embeddings && kind == LayerKind::kEmbedding);
}

/// "" if the layer can have an adapter.
std::string obstacle_to_adapter(const Model& model, const Layer& layer, bool has_embeddings) {
  if (!is_adaptable_kind(layer.kind, has_embeddings)) {
    return "no adapter is made for this kind of layer: " + to_string(layer.kind);
  }
  if (!layer.weight) return "its weight is computed in the graph, or INT8";
  const c10::IValue value = model.attribute(*layer.weight);
  if (!value.isTensor() || !value.toTensor().is_floating_point() || value.toTensor().dim() < 2) {
    return "its weight is no float matrix";
  }
  return "";
}

/// Layers that are computed for something, under the names that they are known by.
std::vector<Layer> live_layers(const Model& model,
                               const std::map<std::string, std::string>& stand_ins) {
  std::vector<Layer> layers;
  for (Layer& layer : find_layers(model)) {
    if (!layer.node->hasUses()) continue;
    const auto stand_in = stand_ins.find(layer.weight.value_or(""));
    if (stand_in != stand_ins.end()) layer.name = stand_in->second;
    layers.push_back(std::move(layer));
  }
  return layers;
}

bool reads(const Layer& layer, const std::string& weight) {
  return std::find(layer.weights.begin(), layer.weights.end(), weight) != layer.weights.end();
}

/// Adapters are stored by module; where one holds several weights, they go by their own names.
void tell_modules_apart(std::vector<AdapterTarget>& targets) {
  std::map<std::string, int> count;
  for (const AdapterTarget& target : targets) ++count[target.module];
  for (AdapterTarget& target : targets) {
    if (count[target.module] > 1) target.module = target.weight;
  }
}

}  // namespace

AdapterTargets find_adapter_targets(const Model& model, const LayerFilter& filter,
                                    bool has_embeddings,
                                    const std::map<std::string, std::string>& stand_ins) {
  AdapterTargets found;
  const std::vector<Layer> layers = live_layers(model, stand_ins);
  const auto is_candidate = [&](const Layer& layer) {
    return filter.accepts(layer.name) && obstacle_to_adapter(model, layer, has_embeddings).empty();
  };
  for (const Layer& layer : layers) {
    if (!filter.accepts(layer.name)) continue;
    const std::string obstacle = obstacle_to_adapter(model, layer, has_embeddings);
    if (!obstacle.empty()) {
      if (is_adaptable_kind(layer.kind, has_embeddings))
        found.left.push_back({layer.name, obstacle});
      continue;
    }
    const auto other = std::find_if(layers.begin(), layers.end(), [&](const Layer& reader) {
      return reads(reader, *layer.weight) &&
             (!is_candidate(reader) || reader.weight != layer.weight);
    });
    if (other != layers.end()) {
      found.left.push_back(
          {layer.name, "another layer reads its weight too: " + op_of(other->node)});
      continue;
    }
    const auto same =
        std::find_if(found.targets.begin(), found.targets.end(),
                     [&](const auto& target) { return target.weight == *layer.weight; });
    if (same == found.targets.end()) {
      found.targets.push_back(
          {layer.name, *layer.weight, layer.kind, {layer.node}, op_of(layer.node)});
      found.targets.back().keeps_zeros = stand_ins.count(*layer.weight) == 0;
    } else {
      same->readers.push_back(layer.node);
      if (same->op != op_of(layer.node)) same->op.clear();
    }
  }
  tell_modules_apart(found.targets);
  return found;
}

}  // namespace edgecompress
