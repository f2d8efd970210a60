// What tests of adapters share: every kind of them, over networks with every kind of layer.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/text_network.h"
#include "support/tiny_models.h"
#include "train/adapters.h"

namespace edgecompress::testing {

struct AdapterCase {
  std::string network;
  AdapterSettings settings;
  bool is_pissa = false;

  std::string name() const {
    std::string text = network;
    if (settings.rslora) text += "_rslora";
    if (settings.dora) text += "_dora";
    if (settings.dropout > 0) text += "_dropout";
    if (is_pissa) text += "_pissa";
    return text;
  }
};

inline Model tiny(const std::string& name) {
  const auto model = make_tiny_model(name);
  return Model::from_module(model.module, model.inputs);
}

inline std::string returns(const std::string& expression) {
  return "def forward(self, x):\n  return " + expression + "\n";
}

/// A text network of one kind of layer, in double precision, or a tiny network.
inline Model network_of(const AdapterCase& adapter_case) {
  const std::string& name = adapter_case.network;
  if (name == "embedding") {
    return make_text_network({returns("self.fc(torch.mean(self.words(x), [1]))"),
                              {embedding("words", 11, 6), linear("fc", 4, 6)},
                              {index_input({1, 5}, 11)}});
  }
  if (name == "grouped") {
    return make_text_network({returns("torch.mean(self.conv(x), [2, 3])"),
                              {conv("conv", {8, 4, 3, 2})},
                              {float_input({1, 4, 6, 6})}});
  }
  if (name == "transposed") {
    return make_text_network({returns("torch.mean(torch.relu(self.up(x)), [2, 3])"),
                              {conv_transpose("up", 4, 6, 2)},
                              {float_input({1, 4, 5, 5})}});
  }
  if (name == "conv3d") {
    ConvShape shape{6, 3};
    shape.rank = 3;
    return make_text_network({returns("torch.mean(torch.relu(self.conv(x)), [2, 3, 4])"),
                              {conv("conv", shape)},
                              {float_input({1, 3, 4, 4, 4})}});
  }
  return tiny(name);
}

inline std::vector<AdapterCase> adapter_cases() {
  std::vector<AdapterCase> cases;
  for (const char* name : {"mlp", "cnn", "depthwise_cnn", "conv1d", "transformer", "embedding",
                           "grouped", "transposed", "conv3d"}) {
    cases.push_back({name, {2, 8}});
    cases.push_back({name, {3, 4, true}});
    cases.push_back({name, {2, 8, false, true}});
    cases.push_back({name, {2, 8, false, false, 0.3}});
    cases.push_back({name, {2, 8, false, true, 0.3}});
    cases.push_back({name, {2, 8}, true});
    cases.push_back({name, {2, 8, true, true}, true});
  }
  return cases;
}

inline at::Tensor output_of(const Model& model, const std::vector<at::Tensor>& inputs) {
  const at::NoGradGuard no_grad;
  return model.forward(inputs).at(0);
}

/// One for each weight that can have one.
inline void add_adapters(Adapters& adapters, Model& model, const AdapterCase& adapter_case) {
  const auto found = find_adapter_targets(model, LayerFilter({}, {}), /*has_embeddings=*/true);
  for (const AdapterTarget& target : found.targets) {
    Adapter adapter;
    adapter.module = target.module;
    adapter.kind = target.kind;
    adapter.settings = adapter_case.settings;
    const at::Tensor weight = model.tensor(target.weight).detach();
    if (adapter_case.is_pissa) {
      start_pissa(adapter, weight);
      adapters.add_pissa(adapter, target);
    } else {
      start_plain(adapter, weight, 7);
      adapters.add(adapter, target);
    }
  }
}

/// As if the tensors had been trained: each moves by its own wave.
inline void train_a_little(Model& model, const Adapters& adapters) {
  double phase = 0;
  for (const std::string& name : adapters.parameters()) {
    const at::Tensor tensor = model.tensor(name).detach();
    const at::Tensor wave = at::sin(at::arange(tensor.numel(), tensor.options()) * 1.7 + phase);
    model.set_tensor(name, tensor + 0.2 * wave.view(tensor.sizes()));
    phase += 1;
  }
}

}  // namespace edgecompress::testing
