#include "support/tiny_models.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <functional>
#include <map>
#include <stdexcept>

#include "data/tensor_dataset.h"

namespace edgecompress::testing {
namespace {

using torch::jit::Module;

/// Makes the layers of one network; every tensor is drawn from one seeded generator.
class Builder {
 public:
  explicit Builder(std::uint64_t seed) : generator_(at::detail::createCPUGenerator(seed)) {}

  Module conv(std::vector<std::int64_t> weight_shape, std::int64_t stride = 1,
              std::int64_t padding = 0, std::int64_t groups = 1) {
    const std::string rank = std::to_string(weight_shape.size() - 2);
    const std::int64_t out_channels = weight_shape[0];
    Module layer = with_weight("Conv" + rank + "d", weight_shape, out_channels);
    const auto list = [&](std::int64_t value) {
      std::string text = std::to_string(value);
      for (std::size_t i = 3; i < weight_shape.size(); ++i) text += ", " + std::to_string(value);
      return "[" + text + "]";
    };
    layer.define("def forward(self, x):\n  return torch.conv" + rank +
                 "d(x, self.weight, self.bias, " + list(stride) + ", " + list(padding) + ", " +
                 list(1) + ", " + std::to_string(groups) + ")\n");
    return layer;
  }

  Module linear(std::int64_t in, std::int64_t out) {
    Module layer = with_weight("Linear", {out, in}, out);
    layer.define(
        "def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n");
    return layer;
  }

  Module batch_norm(std::int64_t channels) {
    Module layer = module("BatchNorm");
    layer.register_parameter("weight", uniform({channels}, 0.5, 1.5), false);
    layer.register_parameter("bias", uniform({channels}, -0.3, 0.3), false);
    layer.register_buffer("running_mean", uniform({channels}, -0.5, 0.5));
    layer.register_buffer("running_var", uniform({channels}, 0.5, 2.0));
    layer.define(
        "def forward(self, x):\n"
        "  return torch.batch_norm(x, self.weight, self.bias, self.running_mean, "
        "self.running_var,\n"
        "                          self.training, 0.1, 1e-5, True)\n");
    return layer;
  }

  Module layer_norm(std::int64_t features) {
    Module layer = module("LayerNorm");
    layer.register_parameter("weight", uniform({features}, 0.5, 1.5), false);
    layer.register_parameter("bias", uniform({features}, -0.3, 0.3), false);
    layer.define("def forward(self, x):\n  return torch.layer_norm(x, [" +
                 std::to_string(features) + "], self.weight, self.bias, 1e-5, True)\n");
    return layer;
  }

  /// One layer, one direction; `gates` is 4 for an LSTM and 3 for a GRU.
  Module recurrent(std::int64_t gates, std::int64_t in, std::int64_t hidden) {
    Module layer = module(gates == 4 ? "LSTM" : "GRU");
    layer.register_parameter("weight_ih_l0", uniform({gates * hidden, in}, -0.4, 0.4), false);
    layer.register_parameter("weight_hh_l0", uniform({gates * hidden, hidden}, -0.4, 0.4), false);
    layer.register_parameter("bias_ih_l0", uniform({gates * hidden}, -0.4, 0.4), false);
    layer.register_parameter("bias_hh_l0", uniform({gates * hidden}, -0.4, 0.4), false);
    const std::string zeros = "torch.zeros([1, x.size(0), " + std::to_string(hidden) + "])";
    const std::string weights =
        "[self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0]";
    if (gates == 4) {
      layer.define("def forward(self, x):\n  y, h, c = torch.lstm(x, [" + zeros + ", " + zeros +
                   "], " + weights + ", True, 1, 0.0, self.training, False, True)\n  return y\n");
    } else {
      layer.define("def forward(self, x):\n  y, h = torch.gru(x, " + zeros + ", " + weights +
                   ", True, 1, 0.0, self.training, False, True)\n  return y\n");
    }
    return layer;
  }

  /// A network of named layers around the text of its forward.
  Module network(const std::vector<std::pair<std::string, Module>>& layers,
                 const std::string& forward) {
    Module net = module("Net");
    for (const auto& [name, layer] : layers) net.register_module(name, layer);
    net.define(forward);
    net.eval();
    return net;
  }

 private:
  static Module module(const std::string& kind) {
    Module result("__torch__." + kind);
    result.register_attribute("training", c10::BoolType::get(), true);
    return result;
  }

  Module with_weight(const std::string& kind, const std::vector<std::int64_t>& shape,
                     std::int64_t out_channels) {
    std::int64_t fan_in = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) fan_in *= shape[i];
    const double bound = std::sqrt(6.0 / static_cast<double>(fan_in));  // He et al. 2015
    Module layer = module(kind);
    layer.register_parameter("weight", uniform(shape, -bound, bound), false);
    layer.register_parameter("bias", uniform({out_channels}, -0.1, 0.1), false);
    return layer;
  }

  at::Tensor uniform(const std::vector<std::int64_t>& shape, double low, double high) {
    return at::rand(shape, generator_) * (high - low) + low;
  }

  at::Generator generator_;
};

TinyModel mlp(Builder& b) {
  return {
      "mlp",
      b.network({{"fc1", b.linear(12, 24)}, {"fc2", b.linear(24, 16)}, {"fc3", b.linear(16, 4)}},
                R"(
def forward(self, x):
  x = torch.relu(self.fc1.forward(x))
  x = torch.dropout(x, 0.1, self.training)
  x = torch.relu_(self.fc2.forward(x))
  return self.fc3.forward(x)
)"),
      {{{1, 12}}}};
}

TinyModel cnn(Builder& b) {
  return {"cnn",
          b.network({{"conv1", b.conv({8, 3, 3, 3}, 1, 1)},
                     {"bn1", b.batch_norm(8)},
                     {"conv2", b.conv({16, 8, 3, 3}, 2, 1)},
                     {"bn2", b.batch_norm(16)},
                     {"fc", b.linear(16, 4)}},
                    R"(
def forward(self, x):
  x = torch.relu_(self.bn1.forward(self.conv1.forward(x)))
  x = torch.max_pool2d(x, [2, 2], [2, 2], [0, 0], [1, 1], False)
  x = torch.hardtanh(self.bn2.forward(self.conv2.forward(x)), 0.0, 6.0)
  x = torch.adaptive_avg_pool2d(x, [1, 1])
  return self.fc.forward(torch.flatten(x, 1))
)"),
          {{{1, 3, 12, 12}}}};
}

TinyModel residual_cnn(Builder& b) {
  return {"residual_cnn",
          b.network({{"stem", b.conv({8, 3, 3, 3}, 1, 1)},
                     {"conv1", b.conv({8, 8, 3, 3}, 1, 1)},
                     {"bn1", b.batch_norm(8)},
                     {"conv2", b.conv({8, 8, 3, 3}, 1, 1)},
                     {"bn2", b.batch_norm(8)},
                     {"down", b.conv({16, 8, 1, 1}, 2)},
                     {"conv3", b.conv({16, 8, 3, 3}, 2, 1)},
                     {"bn3", b.batch_norm(16)},
                     {"fc", b.linear(16, 4)}},
                    R"(
def forward(self, x):
  x = torch.relu(self.stem.forward(x))
  y = torch.relu_(self.bn1.forward(self.conv1.forward(x)))
  y = self.bn2.forward(self.conv2.forward(y))
  y += x
  x = torch.relu_(y)
  x = torch.relu(torch.add(self.bn3.forward(self.conv3.forward(x)), self.down.forward(x)))
  return self.fc.forward(torch.mean(x, [2, 3]))
)"),
          {{{1, 3, 8, 8}}}};
}

TinyModel depthwise_cnn(Builder& b) {
  return {"depthwise_cnn",
          b.network({{"expand", b.conv({12, 3, 1, 1})},
                     {"bn1", b.batch_norm(12)},
                     {"depthwise", b.conv({12, 1, 3, 3}, 1, 1, 12)},
                     {"bn2", b.batch_norm(12)},
                     {"project", b.conv({8, 12, 1, 1})},
                     {"bn3", b.batch_norm(8)},
                     {"fc", b.linear(8, 4)}},
                    R"(
def forward(self, x):
  x = torch.hardtanh_(self.bn1.forward(self.expand.forward(x)), 0.0, 6.0)
  x = torch.hardtanh_(self.bn2.forward(self.depthwise.forward(x)), 0.0, 6.0)
  x = self.bn3.forward(self.project.forward(x))
  return self.fc.forward(torch.flatten(torch.adaptive_avg_pool2d(x, [1, 1]), 1))
)"),
          {{{1, 3, 8, 8}}}};
}

TinyModel concat_cnn(Builder& b) {
  return {"concat_cnn",
          b.network({{"stem", b.conv({8, 3, 3, 3}, 1, 1)},
                     {"left", b.conv({6, 8, 1, 1})},
                     {"right", b.conv({10, 8, 3, 3}, 1, 1)},
                     {"merge", b.conv({12, 16, 1, 1})},
                     {"bn", b.batch_norm(12)},
                     {"fc", b.linear(12, 4)}},
                    R"(
def forward(self, x):
  x = torch.relu(self.stem.forward(x))
  y = torch.cat([torch.relu(self.left.forward(x)), torch.relu(self.right.forward(x))], 1)
  y = torch.relu(self.bn.forward(self.merge.forward(y)))
  y = torch.avg_pool2d(y, [2, 2], [2, 2], [0, 0], False, True, None)
  return self.fc.forward(torch.flatten(torch.adaptive_avg_pool2d(y, [1, 1]), 1))
)"),
          {{{1, 3, 8, 8}}}};
}

TinyModel conv1d(Builder& b) {
  return {"conv1d",
          b.network({{"conv1", b.conv({8, 4, 5}, 2, 2)},
                     {"bn1", b.batch_norm(8)},
                     {"conv2", b.conv({12, 8, 3}, 1, 1)},
                     {"bn2", b.batch_norm(12)},
                     {"fc", b.linear(12, 4)}},
                    R"(
def forward(self, x):
  x = torch.relu(self.bn1.forward(self.conv1.forward(x)))
  x = torch.relu(self.bn2.forward(self.conv2.forward(x)))
  return self.fc.forward(torch.mean(x, [2]))
)"),
          {{{1, 4, 24}}}};
}

TinyModel recurrent(Builder& b, const std::string& name, std::int64_t gates) {
  return {name,
          b.network({{"rnn", b.recurrent(gates, 6, 10)}, {"fc", b.linear(10, 4)}},
                    R"(
def forward(self, x):
  y = self.rnn.forward(x)
  return self.fc.forward(torch.select(y, 1, -1))
)"),
          {{{1, 9, 6}}}};
}

TinyModel transformer(Builder& b) {
  return {"transformer",
          b.network({{"embed", b.linear(6, 16)},
                     {"norm1", b.layer_norm(16)},
                     {"qkv", b.linear(16, 48)},
                     {"proj", b.linear(16, 16)},
                     {"norm2", b.layer_norm(16)},
                     {"fc1", b.linear(16, 32)},
                     {"fc2", b.linear(32, 16)},
                     {"head", b.linear(16, 4)}},
                    R"(
def forward(self, x):
  x = self.embed.forward(x)
  n = x.size(0)
  t = x.size(1)
  qkv = self.qkv.forward(self.norm1.forward(x)).reshape([n, t, 3, 2, 8]).permute([2, 0, 3, 1, 4])
  q, k, v = torch.unbind(qkv, 0)
  attention = torch.softmax(torch.matmul(q, k.transpose(-2, -1)) * 0.35355339059327373, -1)
  attention = torch.dropout(attention, 0.1, self.training)
  y = torch.matmul(attention, v).transpose(1, 2).reshape([n, t, 16])
  x = x + self.proj.forward(y)
  y = torch.gelu(self.fc1.forward(self.norm2.forward(x)))
  x = x + self.fc2.forward(y)
  return self.head.forward(torch.mean(x, [1]))
)"),
          {{{1, 7, 6}}}};
}

using Maker = std::function<TinyModel(Builder&)>;
const std::vector<std::pair<std::string, Maker>>& makers() {
  static const std::vector<std::pair<std::string, Maker>> list = {
      {"mlp", mlp},
      {"cnn", cnn},
      {"residual_cnn", residual_cnn},
      {"depthwise_cnn", depthwise_cnn},
      {"concat_cnn", concat_cnn},
      {"conv1d", conv1d},
      {"lstm", [](Builder& b) { return recurrent(b, "lstm", 4); }},
      {"gru", [](Builder& b) { return recurrent(b, "gru", 3); }},
      {"transformer", transformer}};
  return list;
}

}  // namespace

const std::vector<std::string>& tiny_model_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const auto& maker : makers()) result.push_back(maker.first);
    return result;
  }();
  return names;
}

TinyModel make_tiny_model(const std::string& name, std::uint64_t seed) {
  for (const auto& [candidate, make] : makers()) {
    if (candidate == name) {
      Builder builder(seed);
      return make(builder);
    }
  }
  throw std::invalid_argument("no tiny model is called " + name);
}

std::shared_ptr<Dataset> make_tiny_data(const TinyModel& model, std::int64_t samples,
                                        std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  std::vector<std::int64_t> shape = model.inputs.at(0).shape;
  shape[0] = samples;
  const at::Tensor inputs = at::randn(shape, generator);
  const at::Tensor flat = inputs.reshape({samples, -1});
  // The projections are the same for every seed: sets of different seeds pose the same task.
  const at::Tensor directions = at::randn({flat.size(1), 2}, at::detail::createCPUGenerator(17));
  const at::Tensor sides = at::matmul(flat, directions).gt(0).to(at::kLong);
  return std::make_shared<TensorDataset>(std::vector<at::Tensor>{inputs},
                                         sides.select(1, 0) * 2 + sides.select(1, 1));
}

}  // namespace edgecompress::testing
