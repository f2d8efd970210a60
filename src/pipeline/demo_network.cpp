#include "pipeline/demo_network.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "util/random.h"

namespace edgecompress {
namespace {

using torch::jit::Module;

constexpr std::int64_t kWidths[] = {16, 32, 48};

class NetworkBuilder {
 public:
  explicit NetworkBuilder(std::uint64_t seed) : random_(seed) {}

  /// Convolution 3x3 without bias, then batch norm.
  Module conv_norm(std::int64_t in, std::int64_t out, std::int64_t stride) {
    Module layer = new_module("ConvNorm");
    layer.register_parameter("weight", he_normal({out, in, 3, 3}), false);
    layer.register_parameter("scale", at::ones({out}), false);
    layer.register_parameter("shift", at::zeros({out}), false);
    layer.register_buffer("running_mean", at::zeros({out}));
    layer.register_buffer("running_var", at::ones({out}));
    layer.define(fmt::format(R"(
def forward(self, x):
  y = torch.conv2d(x, self.weight, None, [{0}, {0}], [1, 1])
  return torch.batch_norm(y, self.scale, self.shift, self.running_mean, self.running_var,
                          self.training, 0.1, 1e-05, True)
)",
                             stride));
    return layer;
  }

  Module residual_block(std::int64_t channels) {
    Module block = new_module("ResidualBlock");
    block.register_module("first", conv_norm(channels, channels, 1));
    block.register_module("second", conv_norm(channels, channels, 1));
    block.define(R"(
def forward(self, x):
  y = torch.relu(self.first.forward(x))
  return torch.relu(self.second.forward(y) + x)
)");
    return block;
  }

  Module classifier(std::int64_t in, std::int64_t classes) {
    Module layer = new_module("Linear");
    layer.register_parameter("weight", he_normal({classes, in}), false);
    layer.register_parameter("bias", at::zeros({classes}), false);
    layer.define("def forward(self, x):\n  return torch.linear(x, self.weight, self.bias)\n");
    return layer;
  }

  static Module new_module(const std::string& name) {
    Module result("__torch__." + name);
    result.register_attribute("training", c10::BoolType::get(), true);
    return result;
  }

 private:
  at::Tensor he_normal(const std::vector<std::int64_t>& shape) {
    at::Tensor weight = at::empty(shape);
    const double fan_in = static_cast<double>(weight.numel() / shape[0]);
    float* const values = weight.data_ptr<float>();
    for (std::int64_t i = 0; i < weight.numel(); ++i) {
      values[i] = static_cast<float>(random_.normal() * std::sqrt(2 / fan_in));
    }
    return weight;
  }

  Random random_;
};

}  // namespace

Module demo_network(std::int64_t classes, std::uint64_t seed) {
  NetworkBuilder builder(seed);
  Module network = NetworkBuilder::new_module("DemoNetwork");
  network.register_module("stem", builder.conv_norm(3, kWidths[0], 1));
  network.register_module("block1", builder.residual_block(kWidths[0]));
  network.register_module("down1", builder.conv_norm(kWidths[0], kWidths[1], 2));
  network.register_module("block2", builder.residual_block(kWidths[1]));
  network.register_module("down2", builder.conv_norm(kWidths[1], kWidths[2], 2));
  network.register_module("block3", builder.residual_block(kWidths[2]));
  network.register_module("classifier", builder.classifier(kWidths[2], classes));
  network.define(R"(
def forward(self, images):
  x = self.block1.forward(torch.relu(self.stem.forward(images)))
  x = self.block2.forward(torch.relu(self.down1.forward(x)))
  x = self.block3.forward(torch.relu(self.down2.forward(x)))
  x = torch.flatten(torch.adaptive_avg_pool2d(x, [1, 1]), 1)
  return self.classifier.forward(x)
)");
  network.eval();
  return network;
}

}  // namespace edgecompress
