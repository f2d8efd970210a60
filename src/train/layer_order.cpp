#include "train/layer_order.h"

#include <set>

#include "model/layers.h"

namespace edgecompress {
namespace {

bool multiplies(LayerKind kind) {
  return kind != LayerKind::kBatchNorm && kind != LayerKind::kNorm && kind != LayerKind::kOther;
}

}  // namespace

std::vector<std::vector<std::string>> parameters_by_layer(const Model& model,
                                                          const std::vector<std::string>& names) {
  std::set<std::string> left(names.begin(), names.end());
  std::vector<std::vector<std::string>> groups(1);
  bool has_first = false;
  for (const Layer& layer : find_layers(model)) {
    std::vector<std::string> own;
    for (const std::string& name : layer.weights) {
      if (left.erase(name) > 0) own.push_back(name);
    }
    if (own.empty()) continue;
    if (multiplies(layer.kind)) {
      if (has_first) groups.emplace_back();
      has_first = true;
    }
    groups.back().insert(groups.back().end(), own.begin(), own.end());
  }
  groups.front().insert(groups.front().end(), left.begin(), left.end());
  return groups;
}

}  // namespace edgecompress
