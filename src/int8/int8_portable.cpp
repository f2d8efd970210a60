#include "int8/int8_portable.h"

#include "int8/fake_quantization.h"

namespace edgecompress {

std::vector<Int8Layer> rewrite_portable_int8(Model& model, const Int8Scheme& scheme) {
  std::vector<Int8Layer> layers;
  for (const Int8Op& op : scheme.plan.ops) {
    if (!op.layer && op.norm.empty()) continue;
    layers.push_back({op.layer ? op.layer->name : op.norm, true, "static, in plain ops",
                      scheme.ranges.at(op.output()), op.node});
  }
  layers.insert(layers.end(), scheme.plan.float_layers.begin(), scheme.plan.float_layers.end());
  simulate_int8(model, scheme);
  return layers;
}

}  // namespace edgecompress
